"""What users bring: spaces and operations of their own, and other targets than classes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made import write_table

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.networks import operations
from robustnas.runs.record import Run

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
TINY = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", *QUIET]

OWN_SPACE = '''"""A search space of my own, with an operation of my own."""

from torch import nn

from robustnas.networks import register_operation
from robustnas.spaces.space import SearchSpace, complete_cell


class Squeeze(nn.Module):
    """Weighs channels by what the whole image holds."""

    def __init__(self, channels, stride, affine):
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, images):
        images = self.pool(images)
        return images * self.gate(images)


register_operation("squeeze", Squeeze)
OPERATIONS = ("none", "skip_connect", "sep_conv_3x3", "squeeze")


def cell(reduction):
    options = {"outputs": (2, 3), "keep": 2, "never_selected": ("none",)}
    return complete_cell(2, 2, OPERATIONS, reduction=reduction, **options)


SPACE = SearchSpace("mine", {"normal": cell(False), "reduce": cell(True)})
'''


def test_a_space_and_an_operation_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the documentation run its own example, docs/guides/own_space.md."""
    (tmp_path / "my_space.py").write_text(OWN_SPACE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    monkeypatch.setitem(sys.modules, "my_space", None)
    del sys.modules["my_space"]
    model = ["--model=DARTS", "--model.space=my_space.SPACE", "--model.channels=2", "--model.layers=3"]
    short = [*TINY, "--trainer.max_epochs=1"]
    assert main(["fit", *model, "--data=Digits", "--run-dir=search", *short]) == 0
    search = Run(Path("search"))
    weights = torch.load(search.checkpoint, weights_only=True)["state_dict"]
    assert any(".gate." in name for name in weights)
    assert search.genotype().space == "mine"
    assert list(search.alphas()[0]) == ["normal", "reduce"]
    network = [f"--model.architecture.{option}" for option in ("layers=3", "channels=4", "auxiliary=false")]
    assert main(["evaluate", "search", *network, *short]) == 0
    assert Path("search/evaluation/test.json").is_file()
    assert main(["draw", "search", "--space=my_space.SPACE"]) == 0


OWN_PART = """
from dataclasses import dataclass

from robustnas.strategies import Softmax


@dataclass(frozen=True)
class Warm(Softmax):
    pass
"""


def test_a_file_names_a_part_of_a_module_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "own_part", raising=False)
    Path("own_part.py").write_text(OWN_PART, encoding="utf-8")
    Path("own.yaml").write_text("model: {class_path: DARTS, init_args: {relaxation: own_part.Warm}}", encoding="utf-8")
    words = ["fit", "-c", "own.yaml", "--model.space=NASBench201", "--model.channels=2", "--model.cells=1"]
    words += ["--data=Digits", *TINY, "--trainer.max_epochs=1", "--run-dir=search"]
    assert main(words) == 2
    assert "but got 'own_part.Warm', and importing it would run code" in capsys.readouterr().err
    assert "own_part" not in sys.modules
    assert main([*words, "--trust=own_part"]) == 0
    assert "class_path: own_part.Warm" in Path("search/config.yaml").read_text(encoding="utf-8")
    assert main(["select", "search"]) == 1  # what was typed then is trusted then
    assert main(["select", "search", "--trust", "own_part"]) == 0


@pytest.mark.parametrize("option", ["relaxation=sibling_user.Warm", "space=sibling_user.SPACE"])
def test_a_module_beside_a_trusted_one_is_named_when_it_is_missing(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    Path("sibling_user.py").write_text(f"import sibling_used\n{OWN_PART}", encoding="utf-8")
    Path("sibling_used.py").write_text("raise SystemExit('executed')", encoding="utf-8")
    assert main(["fit", "--model=DARTS", "--data=Digits", f"--model.{option}", "--run-dir=search"]) in (1, 2)
    assert "but got sibling_used, which lies in the current folder; `--trust sibling_used`" in capsys.readouterr().err


TARGETS = {
    "multilabel": (True, {"accuracy", "map", "loss"}, 2),
    "regression": (False, {"mse", "r2", "loss"}, 1),
}


@pytest.mark.parametrize("task", TARGETS)
def test_other_targets_run_from_search_to_test(tmp_path: Path, task: str) -> None:
    multilabel, metrics, outputs = TARGETS[task]
    labels = write_table(tmp_path / "images", multilabel)
    data = ["--data=ImageFolder", f"--data.root={labels.parent}", f"--data.labels={labels}", f"--data.task={task}"]
    model = ["--model=DARTS", "--model.space=NASBench201", "--model.cells=1", "--model.channels=2"]
    short = [*QUIET, "--trainer.max_epochs=1", "--data.batch_size=8"]
    run = lightning_cli.main(["fit", *model, *data, *short, f"--run-dir={tmp_path / 'search'}"])
    assert run.model.supernet.body.classifier.out_features == outputs
    with (tmp_path / "search" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert set(row) >= {f"{role}/{name}" for role in ("train", "val") for name in metrics}
    assert all(np.isfinite(float(value)) for value in row.values())
    network = ["--model.architecture.cells=1", "--model.architecture.channels=2"]
    assert main(["evaluate", str(tmp_path / "search"), "--recipe=paper", *network, *short]) == 0
    measured = json.loads((tmp_path / "search" / "evaluation" / "test.json").read_text(encoding="utf-8"))
    assert set(measured) == {"parameters", *(f"test/{name}" for name in metrics)}
