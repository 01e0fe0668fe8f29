"""What is wrong in calls from Python, and what goes wrong in the middle of a run."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from tables import check_each
from words import SMALL

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.data import Digits, ImageData, Images
from robustnas.networks import Mixture, Supernet
from robustnas.spaces import find_space
from robustnas.spaces.space import Edge, SearchSpace, complete_cell
from robustnas.training import SearchModule, load

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

SEARCH = ["fit", *SMALL, "--trainer.max_epochs=3", "--diagnostics.measures=[]"]


class OneClass(ImageData):
    """Sixteen images of the first of two classes."""

    def load(self) -> tuple[Images, None]:
        pixels = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
        return Images(pixels, torch.zeros(16, dtype=torch.int64), "classification", ("cat", "dog")), None


def supernet(mixture: Mixture, images: tuple[int, ...] = (2, 3, 8, 8)) -> object:
    return Supernet(find_space("NASBench201"), 2, cells=1)(torch.zeros(images), {"cell": mixture})


def search(**options: Any) -> SearchModule:
    return SearchModule(**{"space": "NASBench201", "cells": 1, "channels": 2, "image_channels": 1, **options})


def fit(module: SearchModule, data: ImageData | None = None) -> object:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return trainer.fit(module, data or Digits(batch_size=16))


def space(*operations: str) -> SearchSpace:
    return SearchSpace("mine", {"cell": complete_cell(1, 3, operations, (3,))}, "nasbench201")


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "too few operations": (
        lambda: supernet(Mixture(torch.ones(6, 4))),
        "Expected `operations` of the mixture 'cell' to have shape (6, 5), but got (6, 4).",
    ),
    "too many edges": (
        lambda: supernet(Mixture(torch.ones(7, 5))),
        "Expected `operations` of the mixture 'cell' to have shape (6, 5), but got (7, 5).",
    ),
    "weights of edges": (
        lambda: supernet(Mixture(torch.ones(6, 5), edges=torch.ones(5))),
        "Expected `edges` of the mixture 'cell' to have shape (6,), but got (5,).",
    ),
    "mixture of another cell": (
        lambda: Supernet(find_space("NASBench201"), 2, cells=1)(torch.zeros(2, 3, 8, 8), {"normal": None}),  # type: ignore[dict-item]
        "Expected `mixtures` for the cells ['cell'], but got ['normal'].",
    ),
    "small images": (
        lambda: supernet(Mixture(torch.ones(6, 5)), (2, 3, 3, 8)),
        "Expected `images` to be at least 4 x 4 pixels, since the network divides their size by 4, but got 3 x 8.",
    ),
    "other channels": (
        lambda: supernet(Mixture(torch.ones(6, 5)), (2, 1, 8, 8)),
        "Expected `images` to be [batch, 3, height, width], but got [2, 1, 8, 8].",
    ),
    "no batch": (
        lambda: supernet(Mixture(torch.ones(6, 5)), (3, 8, 8)),
        "Expected `images` to be [batch, 3, height, width], but got [3, 8, 8].",
    ),
    "unknown operation": (
        lambda: search(space=space("skip_connect", "magic")),
        "Expected every operation of the space to be one of [",
    ),
    "repeated operation": (
        lambda: space("skip_connect", "skip_connect"),
        "Expected `operations` of edge 0-1 to be distinct words, but got ('skip_connect', 'skip_connect').",
    ),
    "edge to itself": (lambda: Edge(2, 2, ("none",)), "Expected `source` to be in 0..1 on an edge into 2, but got 2."),
    "number of classes": (
        lambda: fit(search(num_classes=7)),
        "Expected `num_classes` to be 10, as in the data, but got 7.",
    ),
    "number of channels": (
        lambda: fit(search(image_channels=3)),
        "Expected `image_channels` to be 1, as in the data, but got 3.",
    ),
    "task": (
        lambda: fit(search(task="regression", num_classes=10)),
        "Expected `task` to be 'classification', as in the data, but got 'regression'.",
    ),
    "one class": (
        lambda: fit(search(num_classes=2), OneClass(batch_size=4)),
        "Expected images of at least two classes, but got 16 of class 'cat' alone.",
    ),
    "missing checkpoint": (
        lambda: load("none.ckpt", SearchModule),
        "Expected `path` to be a checkpoint, but there is no file none.ckpt.",
    ),
}


def test_a_wrong_call_is_named(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        monkeypatch.chdir(tmp_path)
        call, beginning = CALLS[case]
        with pytest.raises(ValueError, match=f"^{re.escape(beginning)}"):
            call()
        assert list(tmp_path.rglob("*.ckpt")) == []

    check_each(CALLS, check)


class Explode(Callback):
    """Makes the weights step far too wide from the second epoch on."""

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 1e30


def test_an_undefined_loss_stops_the_run_and_keeps_the_last_good_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "explosion", sys.modules[__name__])
    folder = tmp_path / "run"
    assert main([*SEARCH, "--model.clip=0", "--trainer.callbacks+=explosion.Explode", f"--run-dir={folder}"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    sentence = r"robustnas: Expected a finite (state after the step|\w+ loss), but got one that is not at step [5-9] "
    assert re.match(sentence + r"\(epoch 1\).*\. The checkpoint of the epoch before", error)
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    tensors = [value for value in checkpoint["state_dict"].values() if torch.is_tensor(value)]
    assert all(value.isfinite().all() for value in tensors if value.is_floating_point())
    assert not (folder / "genotype.json").exists()
    assert main([*SEARCH, "--model.clip=0", "--ckpt_path=last", f"--run-dir={folder}"]) == 0  # without what exploded
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_a_checkpoint_of_another_search_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*SEARCH, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
    lightning_cli.main([*short, f"--run-dir={tmp_path / 'small'}"])
    checkpoint = f"--ckpt_path={tmp_path / 'small' / 'last.ckpt'}"
    for words, beginning in (
        ([*short, "--model.channels=4", checkpoint], "`channels` to be 2, as in the checkpoint, since it says which "),
        (
            [*short, "--model.space=S2", "--model.cells=null", checkpoint],
            "`space` to be NASBench201, as in the checkpoint, since it says which network is trained, but got S2.",
        ),
        (
            ["fit", "--model=EvaluationModule", "--model.architecture=ResNet", *short[5:], checkpoint],
            "`--ckpt_path` to hold a search or evaluation by E",
        ),
        ([*short, "--data.split_seed=1", "--trainer.max_epochs=2", checkpoint], "the roles to be those of the check"),
    ):
        capsys.readouterr()
        assert main(words) == 1
        assert capsys.readouterr().err.startswith(f"robustnas: Expected {beginning}")
