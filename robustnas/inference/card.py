"""The model card of an exported network: what it is, how it was found, and how good it is, from the records of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robustnas.analysis import History, judge
from robustnas.analysis.history import part
from robustnas.cost import multiply_adds
from robustnas.inference.loading import is_search
from robustnas.inference.network import TrainedNetwork
from robustnas.networks import ResNet
from robustnas.runs.record import Run, read_json

SHOWN = 20  # names of classes

USE = """## Use

With torch alone:

```python
import torch

from load import load

model, config = load()
images = torch.zeros(1, *config["shape"], dtype=torch.uint8)
print(config["classes"][model(images).argmax(1).item()])
```

`model.pt2` is a program of `torch.export` with the normalisation inside; torch may not read it in versions far from
the one in `config.json`. With robustnas, `robustnas.load_network(FOLDER)` reads `model.safetensors` and `config.json`.
"""


def card_of(trained: TrainedNetwork, checkpoint: Path) -> str:
    """A model card in Markdown; what the folders of the runs do not tell is left out."""
    evaluation = checkpoint.parent
    manifest = _manifest(evaluation)
    search = evaluation.parent if is_search(evaluation.parent) else None
    lines = ["# " + _title(trained), ""]
    for name, value in _facts(trained, manifest, evaluation, search):
        lines.append(f"- **{name}**: {value}")
    return "\n".join([*lines, "", USE])


def _title(trained: TrainedNetwork) -> str:
    kind = "Residual network" if isinstance(trained.network, ResNet) else f"Network of {trained.network.space.name}"
    return f"{kind} for {trained.task} of {len(trained.classes)} outputs"


def _facts(
    trained: TrainedNetwork, manifest: Mapping[str, Any], evaluation: Path, search: Path | None
) -> Iterator[tuple[str, str]]:
    network, spec = trained.network, trained.preprocess.spec
    names = ", ".join(trained.classes[:SHOWN]) + (", ..." if len(trained.classes) > SHOWN else "")
    yield "Data", f"{part(manifest, 'data', 'source') or 'not recorded'}; outputs: {names}"
    yield "Images", " x ".join(map(str, spec.shape)) + ", channels, height and width"
    if not isinstance(network, ResNet):
        yield "Architecture", f"`{network.genotype}`"
    if search is not None:
        yield "Found by", _method(search)
        yield "Verdict on the search", _verdict(search)
    seed, epochs = part(manifest, "module", "init_args", "seed"), manifest.get("epochs")
    if epochs is not None:
        yield "Training", f"{epochs} epochs from scratch, seed {seed}"
    yield "Test set", _metrics(evaluation)
    weights = sum(parameter.numel() for name, parameter in network.named_parameters() if ".auxiliary." not in name)
    yield "Cost", f"{weights:,} weights, {multiply_adds(network, spec.shape):,} multiply-adds for an image"


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return Run(folder).manifest
    except ValueError:
        return {}


def _method(search: Path) -> str:
    described = part(_manifest(search), "module") or {}
    name = str(described.get("class_path", "a method that is not recorded")).rpartition(".")[2]
    seed = part(described, "init_args", "seed")
    return name + ("" if seed is None else f", seed {seed}")


def _verdict(search: Path) -> str:
    try:
        verdict = judge(History.of_run(search))
    except ValueError:
        return "not known: the folder holds no record of the epochs"
    return f"{verdict.state} (epochs: {verdict.epoch + 1})"


def _metrics(evaluation: Path) -> str:
    path = evaluation / "test.json"
    if not path.is_file():
        return "not tested"
    measured = {name: value for name, value in read_json(path).items() if name.startswith("test/")}
    return ", ".join(f"{name.removeprefix('test/')} {value:.4f}" for name, value in measured.items())
