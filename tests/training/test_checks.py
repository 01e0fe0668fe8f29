"""What cannot work is refused before it starts, in one sentence; what goes wrong stops and is named."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import CombinedLoader
from runs import digits, fit, search, state, trainer
from tables import check_each
from torch.utils.data import DataLoader

from robustnas.data import Batch, Images
from robustnas.data.module import ImageData
from robustnas.spaces import Genotype
from robustnas.training.checks import check_fit, check_positive
from robustnas.training.description import load
from robustnas.training.finite import Finite, NotFiniteError
from robustnas.training.search import SearchModule


class Never(Callback):
    """Fails if anything is trained."""

    def on_train_batch_start(self, *_: Any) -> None:
        raise AssertionError


class Labelled(ImageData):
    """Random images with two labels each."""

    def load(self) -> tuple[Images, None]:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
        return Images(pixels, torch.rand(40, 2, generator=generator).round(), "multilabel", ("one", "two")), None


REFUSALS = {
    "classes": ({"num_classes": 7}, {}, "Expected `num_classes` to be 10, as in the data, but got 7."),
    "channels": ({"image_channels": 3}, {}, "Expected `image_channels` to be 1, as in the data, but got 3."),
    "epochs": ({}, {"max_epochs": 0}, "Expected `max_epochs` to be at least 1, but got 0."),
    "steps": ({}, {"max_epochs": None, "max_steps": 3}, "Expected `max_epochs` to be at least 1, but got -1."),
    "size": (
        {"space": "DARTS", "layers": 3, "cells": None, "stem": "imagenet"},
        {},
        "Expected `images` to be at least 32 x 32 pixels, since the network divides their size by 32, but got 8 x 8.",
    ),
}


def test_what_does_not_fit_is_refused_before_training(tmp_path) -> None:
    def check(options, limits, sentence: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            fit(tmp_path, search(**options), callbacks=[Never()], **limits)
        assert not any(tmp_path.iterdir())

    check_each(REFUSALS.values(), lambda row: check(*row))


def test_another_task_than_that_of_the_data_is_refused(tmp_path) -> None:
    data = Labelled(batch_size=4, augmentation=None)
    sentence = "Expected `task` to be 'multilabel', as in the data, but got 'classification'."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        fit(tmp_path, search(num_classes=2), data=data, callbacks=[Never()])
    running = fit(tmp_path, search(num_classes=2, task="multilabel"), data=data)
    assert running.global_step > 0


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "bf16-true"])
def test_precision_too_low_for_alpha_is_refused(tmp_path, precision: str) -> None:
    sentence = (
        f"Expected `precision` to be 32-true, 64-true or bf16-mixed, but got {precision}: gradients of α underflow in "
        "float16, where loss scaling does not reach them, and its steps vanish in bfloat16."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_fit(search(), SimpleNamespace(precision=precision, max_epochs=1), "fit")
    if precision != "16-mixed":  # for which Lightning takes bf16-mixed where there is no GPU
        with pytest.raises(ValueError, match="Expected `precision` to be"):
            fit(tmp_path, precision=precision, callbacks=[Never()])


def test_why_bfloat16_is_too_low_for_alpha() -> None:
    alpha = torch.ones(1, dtype=torch.bfloat16)
    assert alpha - 3e-4 == alpha


def test_data_without_a_module_are_refused_by_the_network(tmp_path) -> None:
    """Loaders that are not of this library cannot be asked before."""
    batch = Batch(torch.randn(2, 3, 8, 8), torch.zeros(2, dtype=torch.long), torch.tensor(0))
    loaders = CombinedLoader({name: DataLoader([batch], batch_size=None) for name in ("weights", "arch")}, "min_size")
    with pytest.raises(
        ValueError, match=r"Expected `images` to be \[batch, 1, height, width\], but got \[2, 3, 8, 8\]"
    ):
        trainer(tmp_path).fit(search(), loaders)


def test_arguments_out_of_range_are_refused() -> None:
    def check(options: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            search(**options)

    check_each(
        [
            ({"lr": 0.0}, "Expected `lr` to be positive, but got 0.0."),
            ({"arch_lr": -1e-3}, "Expected `arch_lr` to be positive, but got -0.001."),
            ({"lr": float("nan")}, "Expected `lr` to be positive, but got nan."),
            ({"num_classes": 1}, "Expected `num_classes` to be at least 2 for classification, but got 1."),
            (
                {"task": "clustering"},
                "Expected `task` to be one of ['classification', 'multilabel', 'regression'], but got 'clustering'.",
            ),
        ],
        lambda row: check(*row),
    )


def test_positive_numbers_pass_and_infinity_does_not() -> None:
    check_positive(a=1e-300, b=3)
    with pytest.raises(ValueError, match="Expected `b` to be positive, but got inf"):
        check_positive(a=1.0, b=float("inf"))


class Poison(Callback):
    """Makes a weight undefined before a step, as a division by zero does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, module: SearchModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            module.supernet.body.classifier.weight.data.fill_(torch.nan)


@pytest.mark.parametrize(("order", "loss"), [("arch_first", "architecture"), ("weights_first", "training")])
def test_an_undefined_loss_stops_the_search_and_leaves_the_last_good_checkpoint(tmp_path, order, loss) -> None:
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    sentence = f"Expected a finite {loss} loss, but got one that is not at step 7 (epoch 1)."
    module = search(step_order=order)
    with pytest.raises(NotFiniteError, match=f"^{re.escape(sentence)}"):
        fit(tmp_path, module, max_epochs=3, callbacks=[saver, Poison(7)])
    good = load(tmp_path / "last.ckpt", SearchModule)
    assert all(value.isfinite().all() for value in good.state_dict().values())
    assert Genotype.from_json((tmp_path / "genotypes/epoch_0000.json").read_text())
    if order == "weights_first":
        return
    undisturbed = fit(tmp_path / "other", search(step_order=order), max_epochs=3)  # 5 steps an epoch
    resumed = fit(tmp_path, search(step_order=order), tmp_path / "last.ckpt", max_epochs=3)
    assert all(torch.equal(a, b) for a, b in zip(state(resumed).values(), state(undisturbed).values(), strict=True))


def test_alpha_and_weights_are_as_before_the_undefined_step(tmp_path) -> None:
    module = search()
    alphas: list[torch.Tensor] = []

    class Note(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            alphas.append(module.alphas["cell"].detach().clone())

    with pytest.raises(NotFiniteError):
        fit(tmp_path, module, callbacks=[Poison(2), Note()])
    assert torch.equal(module.alphas["cell"], alphas[-1])


def test_finite_names_the_first_bad_step() -> None:
    finite = Finite()
    finite.check("training loss", torch.tensor(1.0), 3, 0, False)
    with pytest.raises(NotFiniteError, match=r"a finite training loss, but got one that is not at step 4 \(epoch 2\)"):
        finite.check("training loss", torch.tensor(float("inf")), 4, 2, False)


class Elsewhere(torch.Tensor):
    """Pretends to lie on a device that is slow to read."""

    @property
    def is_cpu(self) -> bool:
        return False


@pytest.mark.parametrize(("later", "last"), [(50, False), (12, True)])
def test_on_devices_that_are_slow_to_read_the_first_bad_step_is_remembered(later: int, last: bool) -> None:
    finite = Finite()
    for step in range(8):
        value = float("nan") if step in (5, 6) else 1.0
        finite.check("training loss", torch.tensor(value).as_subclass(Elsewhere), step + 1, 0, False)
    with pytest.raises(NotFiniteError, match="at step 6 "):
        finite.check("training loss", torch.tensor(1.0).as_subclass(Elsewhere), later, 0, last)


def test_the_images_are_checked_without_data(tmp_path) -> None:
    module = search()
    module.check_images(torch.empty(1, 1, 8, 8, device="meta"))
    with pytest.raises(ValueError, match=r"but got \[1, 3, 8, 8\]"):
        module.check_images(torch.empty(1, 3, 8, 8, device="meta"))
    assert digits().image_shape == (1, 8, 8)


def test_numbers_out_of_range_are_refused() -> None:
    def check(argument: str, value: Any, wanted: str) -> None:
        with pytest.raises(ValueError, match=rf"^Expected `\w+` to be {wanted}, but got"):
            search(**{argument: value})

    check_each(
        [
            ("lr", 0.0, "positive"),
            ("lr_min", -1.0, "zero or more"),
            ("weight_decay", -1.0, "zero or more"),
            ("clip", float("nan"), "zero or more"),
            ("momentum", 1.0, "zero or more and below one"),
            ("drop_path", 2.0, "zero or more and below one"),
            ("arch_betas", (0.5, 2.0), "zero or more and below one"),
        ],
        lambda row: check(*row),
    )
