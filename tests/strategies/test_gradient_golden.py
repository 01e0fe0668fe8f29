"""Searches run by a real trainer take the steps of the original DARTS, in first and in second order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from golden import check, golden, part
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities import CombinedLoader
from robustnas.variants import DARTS
from torch import Tensor
from torch.utils.data import DataLoader

from robustnas.data import Batch
from robustnas.strategies import Bilevel, FirstOrder, Gradient, Unrolled, UnrolledByDifferences


class Trace(Callback):
    """Writes down what the original's values are given for, after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: Trainer, module: DARTS, *_: Any) -> None:
        weights = list(module.supernet.parameters())
        self.steps.append(
            {
                "alphas": {kind: alpha.detach().clone() for kind, alpha in module.alphas.items()},
                "gradients": {kind: alpha.grad.clone() for kind, alpha in module.alphas.items()},
                "clipped norm": torch.nn.utils.get_total_norm([weight.grad for weight in weights]),
                "norm": torch.nn.utils.get_total_norm([weight.detach() for weight in weights]),
                "val": trainer.callback_metrics["arch/loss_step"].clone(),
                "train": trainer.callback_metrics["train/loss_step"].clone(),
            }
        )


def run(
    name: str, gradient: Gradient, tmp_path: Any, steps: int = 3
) -> tuple[DARTS, list[dict[str, Any]], dict[str, Any]]:
    """Train on the batches of a case, from its weights and α, at its constant step size."""
    arrays, meta = golden(name)
    assert meta["hyperparameters"]["w_lr"] == 0.025  # all others are the defaults
    module = DARTS(gradient, channels=meta["C"], layers=meta["layers"], lr_min=0.025).double()
    module.supernet.load_edgewise_state_dict(part(arrays, "w/"))
    for kind, alpha in module.alphas.items():
        alpha.data.copy_(arrays[f"alpha/{kind}"])
    streams = {"weights": ("x_train", "y_train"), "arch": ("x_val", "y_val")}
    batches = {
        stream: DataLoader(
            [Batch(*pair, torch.tensor(0)) for pair in zip(arrays[x], arrays[y], strict=True)], batch_size=None
        )
        for stream, (x, y) in streams.items()
    }
    trace = Trace()
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=1,
        limit_train_batches=steps,
        callbacks=[trace],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, CombinedLoader(batches, "max_size_cycle"))
    assert len(trace.steps) == steps == trainer.global_step
    return module, trace.steps, arrays


def check_steps(steps: Sequence[dict[str, Any]], arrays: dict[str, Any], alpha_after: dict[str, float], **rest: Any):
    """Compare what does not depend on the order of the gradient; ``rest`` gives tolerances by number of the step."""
    for i, step in enumerate(steps):
        close = rest["first"] if i == 0 else rest["later"]
        for kind in ("normal", "reduce"):
            check(step["gradients"][kind], arrays[f"out/alpha_grad/{kind}"][i], **rest.get("gradient", close))
            check(step["alphas"][kind], arrays[f"out/alpha_after/{kind}"][i], **(alpha_after or close))
        norm = arrays["out/weight_grad_norm"][i]
        check(step["clipped norm"], norm * min(1.0, 5 / (float(norm) + 1e-6)), **close)
        check(step["norm"], arrays["out/weight_norm"][i], **close)
        check(step["val"], arrays["out/loss_val"][i], **close)
        check(step["train"], arrays["out/loss_train"][i], **close)


def check_logits(module: DARTS, arrays: dict[str, Any], **close: float) -> None:
    module.train()
    check(module(arrays["x_train"][0]), arrays["out/logits_after"], **close)


def test_first_order_takes_the_steps_of_the_original(tmp_path) -> None:
    module, steps, arrays = run("darts_first_order", FirstOrder(), tmp_path)
    later = {"rtol": 1e-7, "atol": 1e-9}
    check_steps(steps, arrays, {}, first={"rtol": 1e-8, "atol": 1e-10}, later=later)
    clipped = arrays["out/weight_grad_norm"] > 5
    assert clipped.tolist() == [True, True, False]  # both sides of the limit are seen
    final = module.supernet.edgewise_state_dict(of=dict(module.supernet.named_parameters()))
    expected = part(arrays, "out/final_w/")
    assert final.keys() == expected.keys()
    for name, weight in final.items():
        check(weight, expected[name], **later)
    check_logits(module, arrays, **later)


@dataclass(frozen=True)
class Both(Gradient):
    """Follows the finite difference, as the original does, and writes down the exact gradient at its first states."""

    states: int = 3
    exact: list[list[Tensor]] = field(default_factory=list)
    direct: list[list[Tensor]] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        loss = problem.weight_loss(problem.weights)
        self.before.append(loss.detach())
        moved = problem.step.take(problem.weights, torch.autograd.grad(loss, list(problem.weights.values())))
        self.direct.append(list(torch.autograd.grad(problem.arch_loss(moved), problem.alphas)))
        if len(self.exact) < self.states:
            self.exact.append(Unrolled().of(problem)[0])
        return UnrolledByDifferences(0.01).of(problem)


@pytest.mark.parametrize("states", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_second_order_takes_the_steps_of_the_original(tmp_path, states: int) -> None:
    both = Both(states)
    module, steps, arrays = run("darts_second_order", both, tmp_path)
    close = {"rtol": 1e-7, "atol": 1e-9}
    gradient = {"rtol": 1e-6, "atol": 1e-9}
    check_steps(steps, arrays, {"rtol": 1e-6, "atol": 1e-8}, first=close, later=close, gradient=gradient)
    check_logits(module, arrays, **close)
    for i, step in enumerate(steps):
        check(both.before[i], arrays["out/unroll/loss_train_before"][i], **close)
        for k, kind in enumerate(("normal", "reduce")):
            by_differences = (both.direct[i][k] - step["gradients"][kind]) / 0.025
            check(by_differences, arrays[f"out/unroll/hvp/{kind}"][i], rtol=1e-6, atol=1e-8)
            if i >= states:
                continue
            exact = (both.direct[i][k] - both.exact[i][k]) / 0.025
            check(exact, arrays[f"out/unroll/hvp_small_r/{kind}"][i], rtol=1e-4, atol=1e-6)
            check(both.exact[i][k], arrays[f"out/unroll/alpha_grad_small_r/{kind}"][i], rtol=1e-4, atol=1e-6)


def test_the_finite_difference_of_the_original_is_far_from_the_derivative() -> None:
    """What the docstring of ``UnrolledByDifferences`` warns of, from the original's own values."""
    arrays, _ = golden("darts_second_order")
    for kind in ("normal", "reduce"):
        coarse, fine = arrays[f"out/unroll/hvp/{kind}"], arrays[f"out/unroll/hvp_small_r/{kind}"]
        assert ((coarse - fine).flatten(1).norm(dim=1) > fine.flatten(1).norm(dim=1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "seen_at"), [("weight_decay", 0), ("momentum", 1)])
def test_golden_values_depend_on_each_part_of_the_virtual_step(tmp_path, missing: str, seen_at: int) -> None:
    """The comparison above can fail: without momentum or decay in the virtual step it does."""
    arrays, _ = golden("darts_second_order")

    @dataclass(frozen=True)
    class Lacking(Gradient):
        def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
            step = replace(problem.step, **{missing: 0.0})
            return UnrolledByDifferences(0.01).of(replace(problem, step=step))

    _, steps, _ = run("darts_second_order", Lacking(), tmp_path, seen_at + 1)
    for i, step in enumerate(steps):
        with pytest.raises(AssertionError) if i == seen_at else nullcontext():
            check(step["gradients"]["normal"], arrays["out/alpha_grad/normal"][i], rtol=1e-6, atol=1e-9)
