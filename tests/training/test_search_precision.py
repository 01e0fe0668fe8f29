"""Every variant searches in every precision, and what needs full precision has it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins import DoublePrecision, HalfPrecision, MixedPrecision
from runs import fit, search
from tables import check_each, with_slow
from test_variants import VARIANTS, small

from robustnas.runtime.precision import matmul_precision, settings
from robustnas.strategies import CurvatureRise, LargestDrop, Unrolled, UnrolledByDifferences
from robustnas.training.checks import check_fit, check_precision

DEFAULT = ("GDAS", "second order")  # the others take longer and are marked slow
SECOND = {"second order": Unrolled(), "second order, by differences": UnrolledByDifferences()}


def short(folder: Path, name: str, precision: str) -> tuple[Any, float]:
    """A search of three steps, and its first training loss."""
    module = search(gradient=SECOND[name]) if name in SECOND else small(name)
    module.arch_every = 1
    before = {kind: alpha.detach().clone() for kind, alpha in module.alphas.items()}
    losses: list[float] = []
    log = module.log_loss

    def log_loss(which: str, loss: torch.Tensor, size: int) -> None:
        losses.append(loss.item())
        log(which, loss, size)

    module.log_loss = log_loss
    fit(folder, module, precision=precision, limit_train_batches=3, limit_val_batches=1)
    rests = name == "RandomSharing"  # has no step of α
    assert all(torch.equal(alpha, before[kind]) == rests for kind, alpha in module.alphas.items())
    return module, losses[0]


@pytest.mark.parametrize(
    "name",
    [*DEFAULT, *(pytest.param(name, marks=pytest.mark.slow) for name in (*VARIANTS, *SECOND) if name not in DEFAULT)],
)
def test_every_variant_searches_in_bfloat16_as_in_float32(tmp_path: Path, name: str) -> None:
    _, expected = short(tmp_path / "fp32", name, "32-true")
    with matmul_precision("medium"):
        module, loss = short(tmp_path / "bf16", name, "bf16-mixed")
    assert loss == pytest.approx(expected, rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert all(value.isfinite().all() for value in module.state_dict().values() if torch.is_tensor(value))
    module.genotype().validate(module.space)


def test_first_order_steps_do_use_bfloat16(tmp_path: Path) -> None:
    _, one = short(tmp_path / "fp32", "DARTS", "32-true")
    _, other = short(tmp_path / "bf16", "DARTS", "bf16-mixed")
    assert one != other


PARTS = {
    "arch_step": {"gradient": Unrolled()},
    "measure_curvature": {"stopping": CurvatureRise(interval=1)},
    "measure_curvature of the last batch": {"stopping": CurvatureRise(interval=1, measured_on="last_batch")},
    "_decide": {"selection": LargestDrop(finetune=1)},
    "end_epoch": {"selection": LargestDrop(finetune=0)},
}


@pytest.mark.parametrize("where", with_slow(PARTS, ["measure_curvature"]))
def test_second_order_curvature_and_selection_are_in_full_precision(tmp_path: Path, where: str) -> None:
    module: Any = search(**PARTS[where])
    owners = {"_decide": "perturbation_selection", "measure_curvature": "early_stopping"}
    owners |= {"end_epoch": "one_shot_selection"}
    where, *_ = where.split()
    owner = module.hooks[owners[where]] if where in owners else module
    inner, forward, depth, seen = getattr(owner, where), module.supernet.forward, [0], set()

    def around(*args: Any) -> Any:
        depth[0] += 1
        found = inner(*args)
        depth[0] -= 1
        return found

    def watched(*args: Any) -> Any:
        shortened = torch.is_autocast_enabled("cpu") or not set(settings().values()) <= {"ieee"}
        logits = forward(*args)
        seen.add((bool(depth[0]), shortened, logits.dtype))
        return logits

    setattr(owner, where, around)
    module.supernet.forward = watched
    with matmul_precision("high"):
        before = settings()
        fit(tmp_path, module, precision="bf16-mixed", limit_train_batches=1, limit_val_batches=1)
        assert settings() == before
    assert seen == {(True, False, torch.float32), (False, True, torch.bfloat16)}


WHY = "gradients of α underflow in float16, where loss scaling does not reach them, and its steps vanish in bfloat16."


def test_every_spelling_of_half_precision_is_refused() -> None:
    def check(precision: Any) -> None:
        said = re.escape(f"Expected `precision` to be 32-true, 64-true or bf16-mixed, but got {precision}: {WHY}")
        with pytest.raises(ValueError, match=f"^{said}$"):
            check_precision(precision)
        with pytest.raises(ValueError, match=f"^{said}$"):
            check_fit(module, SimpleNamespace(precision=precision, max_epochs=1), "fit")  # type: ignore[arg-type]

    module, engine = search(), "transformer-engine"
    check_each([16, "16", "16-mixed", "16-true", "bf16-true", engine, f"{engine}-float16"], check)


def test_half_precision_by_a_plugin_is_refused(tmp_path: Path) -> None:
    def check(plugin: Any) -> None:
        with pytest.raises(ValueError, match=rf"^Expected `precision` to be .*, but got {plugin.precision}"):
            fit(tmp_path, plugins=plugin)
        assert not any(tmp_path.iterdir())

    plugins = [MixedPrecision("16-mixed", "cpu"), HalfPrecision("16-true"), HalfPrecision("bf16-true")]
    named = {plugin.precision: plugin for plugin in plugins}
    check_each(named, lambda name: check(named[name]))


def test_other_precisions_are_taken() -> None:
    check_each([32, "32", "32-true", 64, "64-true", "bf16", "bf16-mixed", None], check_precision)


def test_double_precision_reaches_α(tmp_path: Path) -> None:
    module = fit(tmp_path, plugins=DoublePrecision(), limit_train_batches=1).lightning_module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
