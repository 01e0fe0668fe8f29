"""The network, the genotype or the search of a run, in one line. Nothing in a file is executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from robustnas.data.decoding import Decoding
from robustnas.data.input_spec import InputSpec
from robustnas.inference.folder import WEIGHTS, is_exported, load_folder
from robustnas.inference.network import TrainedNetwork
from robustnas.networks import DiscreteNetwork
from robustnas.networks.classifier import Classifier
from robustnas.runs.record import Run, read_genotype
from robustnas.runtime.paths import expand
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.spaces import Genotype
from robustnas.training.description import KEY, read, restore
from robustnas.training.evaluation import EvaluationModule
from robustnas.training.search import SearchModule

RunPath = str | os.PathLike[str]
EVALUATION = "evaluation"  # the folder in that of a search


def load_network(run: RunPath) -> TrainedNetwork:
    """Return the trained network of an evaluation, in evaluation mode, with its preprocessing and its classes.

    Args:
        run: Folder of an evaluation, folder of a search, whose ``evaluation`` is taken, or a checkpoint of an
            evaluation. Of a folder it is the checkpoint that was tested, ``last.ckpt``. A folder that
            ``robustnas export --format folder`` wrote is one too, and its file of weights stands for it.

    Raises:
        ValueError: If there is no evaluation, if it trained another genotype than that of the search, or if its
            checkpoint is damaged, or too old to know its classes and normalisation.
    """
    path = expand(run, "run")
    path = path.parent if path.name == WEIGHTS else path
    if is_exported(path):
        return load_folder(path)
    checkpoint = find_evaluation(path)
    held = read(checkpoint)
    _check_kind(held, checkpoint, search=False)
    network = restore(held, checkpoint, EvaluationModule).network
    _check_genotype(path, checkpoint, network)
    return TrainedNetwork(network, _fitting(spec_of(held[KEY], checkpoint), network, checkpoint))


def load_genotype(run: RunPath) -> Genotype:
    """Return the genotype of a search, of an evaluation, or of a file or text that holds one.

    Args:
        run: Folder of a search or of an evaluation, a checkpoint, a genotype file, or a genotype as text.

    Raises:
        ValueError: If there is none.
    """
    path = Path(run)
    if path.is_file() and path.suffix == ".ckpt":
        held = read(path)
        if (text := held[KEY].get("options", {}).get("architecture.genotype")) is not None:
            return read_genotype(str(text))
        return restore(held, path, SearchModule).genotype()
    own = Run(path).checkpoint
    if path.is_dir() and not (path / "genotype.json").exists() and own.is_file():
        return load_genotype(own)
    return read_genotype(os.fspath(run))


def load_search(run: RunPath) -> SearchModule:
    """Return the search of a run, with the weights of its supernet and α, in evaluation mode on the CPU.

    Args:
        run: Folder of a search, whose ``last.ckpt`` is taken, or a checkpoint of a search.

    Raises:
        ValueError: If there is none, or its checkpoint is damaged.
    """
    path = expand(run, "run")
    checkpoint = Run(path).checkpoint if path.is_dir() else path
    if not checkpoint.is_file():
        raise ValueError(f"Expected `run` to be a search or its checkpoint, but there is no file {checkpoint}.")
    held = read(checkpoint)
    _check_kind(held, checkpoint, search=True)
    return restore(held, checkpoint, SearchModule).eval()


def find_evaluation(run: RunPath) -> Path:
    """The checkpoint that a run, or the evaluation below a search, was tested by; refused if there is none."""
    path = expand(run, "run")
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"Expected `run` to be the folder of a run or a checkpoint, but there is no {path}.")
    if not is_search(path):
        if (own := Run(path).checkpoint).is_file():
            return own
        raise ValueError(f"Expected `run` to be a run with a checkpoint, but there is no {own.name} in {path}.")
    found = Run(path / EVALUATION).checkpoint
    if not found.is_file():
        raise ValueError(
            f"Expected `run` to be an evaluation, but {path} is a search whose network was not trained; first run: "
            f"robustnas evaluate {path}"
        )
    return found


def is_search(folder: Path) -> bool:
    """Whether a folder is that of a search, or of a selection from one."""
    return (folder / "genotype.json").is_file() or (folder / "alpha").is_dir()


def spec_of(held: dict[str, Any], checkpoint: Path) -> InputSpec:
    """How an image becomes an input, from what a checkpoint keeps, or for older ones from the record beside it."""
    if "inputs" in held:
        return InputSpec.of(held["inputs"], f"`inputs` in {checkpoint}")
    folder = checkpoint.parent
    try:
        data = Run(folder).manifest["data"]
        shape, rest = data["image_shape"], {name: data[name] for name in ("mean", "std", "classes", "task")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {checkpoint} to hold the classes and the normalisation of its data, but it is of an older "
            f"version, and manifest.json beside it, which has them too, is missing or lacks them; "
            "`robustnas.training.load(CKPT, EvaluationModule).network` is the network without them."
        ) from error
    return InputSpec.of({"shape": shape, **rest, "decoding": _decoding(folder, shape)}, str(folder / "manifest.json"))


def _fitting(spec: InputSpec, network: Classifier, checkpoint: Path) -> InputSpec:
    """Refuse inputs and outputs that are not those of the network."""
    outputs = int(network.get_classifier().out_features)  # type: ignore[arg-type]
    if len(spec.classes) != outputs:
        raise ValueError(
            f"Expected {checkpoint} to fit its record, which names {len(spec.classes)} outputs, but its network has "
            f"{outputs}."
        )
    if spec.shape[0] != network.image_channels:
        raise ValueError(
            f"Expected {checkpoint} to fit its record, which has images of {spec.shape[0]} channels, but its "
            f"network takes {network.image_channels}."
        )
    return spec


def _decoding(folder: Path, shape: Any) -> dict[str, Any] | None:
    """How an older run decoded files, from its configuration."""
    path = folder / "config.yaml"
    content = read_yaml(path) if path.is_file() else {}
    data = content.get("data") if isinstance(content, dict) else None
    given = data.get("init_args") if isinstance(data, dict) else None
    if not isinstance(given, dict) or "image_size" not in given:
        return None
    names = ("image_size", "background", "channels")
    return vars(Decoding(**{name: given[name] for name in names if name in given}))


def _check_kind(held: dict[str, Any], checkpoint: Path, search: bool) -> None:
    """Refuse a search where an evaluation is wanted, and the other way round."""
    module = held[KEY]["module"]
    arguments = module["init_args"]
    if search and "architecture" in arguments:
        raise ValueError(f"Expected `run` to be a search, but {checkpoint} is an evaluation; load_network loads it.")
    if not search and "architecture" not in arguments:
        raise ValueError(
            f"Expected `run` to be an evaluation, but {checkpoint} is a search by "
            f"{str(module['class_path']).rpartition('.')[2]}; first run: robustnas evaluate {checkpoint.parent}"
        )


def _check_genotype(run: Path, checkpoint: Path, network: object) -> None:
    """Refuse weights of another genotype than that of the search whose folder was given."""
    if not (run / "genotype.json").is_file() or not isinstance(network, DiscreteNetwork):
        return
    if (found := Run(run).genotype()) != network.genotype:
        raise ValueError(
            f"Expected {checkpoint} to hold weights of the genotype of {run}, {found}, but got those of "
            f"{network.genotype}; `robustnas evaluate {run} --run-dir OUT` trains the one, and {checkpoint.parent} "
            "names the other."
        )
