"""Hostile data: too few samples, single samples, images and labels that say nothing."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from robustnas.variants import DARTS
from runs import fit, rows, search

from robustnas.data import Images
from robustnas.data.module import ImageData
from robustnas.spaces import Genotype
from robustnas.strategies import LargestDrop
from robustnas.training import EvaluationModule
from robustnas.training.architecture import ResNet
from robustnas.training.checks import check_fit


class Made(ImageData):
    """Noise, or images of one colour, in two classes or with targets that never change."""

    def __init__(
        self, count: int = 24, side: int = 8, constant: bool = False, task: Any = "classification", **rest: Any
    ):
        super().__init__(**{"augmentation": None, "batch_size": 4, **rest})
        self.made = (count, side, constant, task)

    def load(self) -> tuple[Images, None]:
        count, side, constant, task = self.made
        pixels = torch.randint(0, 256, (count, 1, side, side), generator=torch.Generator().manual_seed(0))
        pixels = torch.full_like(pixels, 7) if constant else pixels
        targets = torch.arange(count) % 2 if task == "classification" else torch.ones(count, 1)
        names = ("one", "two") if task == "classification" else ("value",)
        return Images(pixels.to(torch.uint8), targets, task, names), None


def smallest(**options: Any) -> DARTS:
    return search(**{"num_classes": 2, "channels": 2, **options})


def evaluation(architecture: Any) -> EvaluationModule:
    return EvaluationModule(architecture, num_classes=2, image_channels=1)


def refused(folder: Path, module: Any, data: ImageData, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fit(folder, module, data=data)
    assert not any(folder.iterdir())


@pytest.mark.parametrize("network", ["search", "ResNet"])
def test_single_samples_are_refused_where_batchnorm_cannot_take_them(tmp_path: Path, network: str) -> None:
    module = smallest() if network == "search" else evaluation(ResNet())
    sentence = (
        "Expected `batch_size` to be at least 2, since images of 4 x 4 shrink to one pixel, where BatchNorm has "
        "nothing to normalise one sample by, but got 1."
    )
    refused(tmp_path, module, Made(side=4, batch_size=1), sentence)


def test_single_samples_are_searched_on_where_it_can(tmp_path: Path) -> None:
    module = smallest()
    before = {name: buffer.clone() for name, buffer in module.supernet.named_buffers()}
    check_fit(module, SimpleNamespace(precision="32-true", max_epochs=1, datamodule=Made(batch_size=1)), "fit")
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.supernet.named_buffers())
    running = fit(tmp_path, module, data=Made(batch_size=1), limit_train_batches=2)
    assert running.global_step == 2
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_a_last_single_sample_is_refused_where_statistics_are_those_of_the_batch(tmp_path: Path) -> None:
    data: dict[str, Any] = {"count": 50, "side": 4, "fractions": (0.5, 0.3, 0.2), "test_fraction": 0.1}
    size = len(Made(**data).split.indices["selection"]) - 1
    sentence = (
        f"Expected `eval_batch_size` to leave no batch of one sample beside `batch_statistics`, since images shrink to "
        f"one pixel, but got {size} for {size + 1} samples of selection."
    )
    refused(tmp_path, smallest(batch_statistics=True), Made(**data, eval_batch_size=size), sentence)
    fit(tmp_path, smallest(batch_statistics=False), data=Made(**data, eval_batch_size=size), limit_train_batches=1)
    wide = fit(tmp_path, smallest(batch_statistics=True), data=Made(**data, eval_batch_size=size + 1))
    assert wide.callback_metrics["val/loss"].isfinite()


@pytest.mark.parametrize(
    ("count", "size", "processes", "sentence"),
    [
        (
            24,
            16,
            1,
            "Expected `batch_size` to give at least one full batch of the 10 samples of 'weights', but got 16.",
        ),
        (
            24,
            4,
            8,
            "Expected `batch_size` to give at least one full batch of the 10 samples of 'weights', but got 4 on each "
            "of 8 processes.",
        ),
        (3, 1, 1, "Expected `fractions` to give the role 'selection' at least one of 3 samples, but got 0.1."),
    ],
)
def test_data_smaller_than_a_batch_on_every_process_are_refused(
    count: int, size: int, processes: int, sentence: str
) -> None:
    data = Made(count, batch_size=size, fractions=(0.5, 0.4, 0.1), test_fraction=0.2)
    data.trainer = SimpleNamespace(world_size=processes, global_rank=0, overfit_batches=0)  # type: ignore[assignment]
    run = SimpleNamespace(precision="32-true", max_epochs=1, datamodule=data)
    with pytest.raises(ValueError, match=r"^Expected `(batch_size|fractions)`") as caught:
        check_fit(smallest(), run, "fit")  # type: ignore[arg-type]
    assert re.sub(r"the \d+ samples", "the 10 samples", str(caught.value)) == sentence


def test_an_empty_role_that_is_trained_on_is_refused(tmp_path: Path) -> None:
    sentence = "Expected the stream 'arch' to have at least one sample, but got none."
    refused(tmp_path, smallest(), Made(fractions=(0.8, 0.0, 0.2)), sentence)


def test_an_empty_selection_is_not_measured(tmp_path: Path) -> None:
    running = fit(tmp_path, smallest(), data=Made(fractions=(0.5, 0.5, 0.0)), limit_train_batches=1)
    assert not any(name.startswith("val/") for name in running.callback_metrics)
    module = smallest(selection=LargestDrop(finetune=1))  # scores are taken on the role arch then
    fit(tmp_path, module, data=Made(fractions=(0.5, 0.5, 0.0)), limit_train_batches=1)
    assert len(module.hooks["perturbation_selection"].entries) == 6


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_images_and_targets_that_never_change_are_searched_on(tmp_path: Path, task: Any) -> None:
    options = {"num_classes": 1, "task": task} if task == "regression" else {}
    running = fit(tmp_path, smallest(**options), data=Made(constant=True, task=task), max_epochs=2)
    module: Any = running.lightning_module
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert all(row["train/loss"] >= 0 for row in rows(running))
    module.genotype().validate(module.space)
    assert Genotype.from_json((tmp_path / "genotype.json").read_text())
