"""Hostile numbers: what is not finite stops a search and is named, and no file ever holds it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import fit, rows, search
from torch import Tensor

from robustnas.curvature import Hessian
from robustnas.spaces import NASBench201
from robustnas.strategies import CurvatureRise, FirstOrder, RaiseDecay, Sparsemax, Unrolled, UnrolledByDifferences
from robustnas.strategies.gradient import Bilevel, Step
from robustnas.training import EvaluationModule
from robustnas.training.architecture import ResNet
from robustnas.training.curvature import Measured
from robustnas.training.description import load
from robustnas.training.finite import Finite, NotFiniteError, Unreached, check_saved, norm_of
from robustnas.training.search import SearchModule

STEPS = 5  # an epoch


class At(Callback):
    """Does something to a search before a step."""

    def __init__(self, step: int, act: Callable[[SearchModule], object]) -> None:
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer: Any, module: SearchModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.act(module)


def nan_gradient_of_alpha(module: SearchModule) -> None:
    """The loss stays finite, its derivative does not."""
    inner = module.loss

    def loss(*args: Any) -> tuple[Tensor, Tensor]:
        found, outputs = inner(*args)
        if any(a.grad_fn is None for a in module.alphas.values()) and found.requires_grad:
            found = found + (module.alphas["cell"][2] * 0).clamp(min=0).sqrt().sum()  # infinite slope at zero
        return found, outputs

    module.loss = loss


def nan_gradient_of_weights(module: SearchModule) -> None:
    inner = module.loss

    def loss(batch: Any, mixtures: Any, weights: Any) -> tuple[Tensor, Tensor]:
        found, outputs = inner(batch, mixtures, weights)
        return found + (weights["body.classifier.bias"] * 0).clamp(min=0).sqrt().sum(), outputs

    module.loss = loss


def wide(which: int) -> Callable[[SearchModule], None]:
    def act(module: SearchModule) -> None:
        for group in module.trainer.optimizers[which].param_groups:
            group["lr"] = math.inf

    return act


def huge_targets(module: SearchModule) -> None:
    module.loss_of = lambda outputs, targets: outputs.sum() * 0 + math.inf


HOSTILE: dict[str, tuple[Callable[[SearchModule], object], str]] = {
    "infinite loss": (huge_targets, "architecture loss, but got one that is not at step 7 (epoch 1). "),
    "gradient of α": (
        nan_gradient_of_alpha,
        "gradient of α, but got one that is not at step 7 (epoch 1), in α of the cell cell, edge 1-2. ",
    ),
    "gradient of the weights": (
        nan_gradient_of_weights,
        "gradient of the weights, but got one that is not at step 7 (epoch 1), in body.classifier.bias. ",
    ),
    "α": (
        lambda module: module.alphas["cell"].data[0, 0].fill_(math.inf),
        "architecture loss, but got one that is not at step 7 (epoch 1). ",
    ),
    "step of α": (
        wide(1),
        "training loss, but got one that is not at step 7 (epoch 1). ",
    ),
    "step of the weights": (
        wide(0),
        "state after the step, but got one that is not at step 7 (epoch 1), in supernet.body.",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_not_finite_stops_the_search_and_the_checkpoint_stays_good(tmp_path: Path, case: str) -> None:
    act, words = HOSTILE[case]
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    with pytest.raises(NotFiniteError, match=f"^{re.escape('Expected a finite ' + words)}"):
        fit(tmp_path, search(), max_epochs=3, callbacks=[saver, At(STEPS + 2, act)])
    assert saved_is_good(tmp_path / "last.ckpt")
    with np.load(tmp_path / "alpha/epoch_0000.npz") as held:
        assert all(np.isfinite(held[kind]).all() for kind in held)
    assert sorted(path.name for path in (tmp_path / "alpha").iterdir()) == ["epoch_0000.npz"]
    assert not (tmp_path / "genotype.json").exists()


def saved_is_good(path: Path) -> bool:
    good = load(path, SearchModule)
    held = torch.load(path, weights_only=True)["optimizer_states"]
    numbers = [v for one in held for state in one["state"].values() for v in state.values() if torch.is_tensor(v)]
    assert numbers
    return all(value.isfinite().all() for value in [*good.state_dict().values(), *numbers] if torch.is_tensor(value))


@pytest.mark.parametrize("which", [0, 1])
def test_a_bad_last_step_of_an_epoch_is_caught_before_anything_is_written(tmp_path: Path, which: int) -> None:
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    options = {"step_order": "weights_first"} if which == 1 else {}  # its step is the last one
    with pytest.raises(NotFiniteError, match="a finite state after the step, but got one that is not at step 9 "):
        fit(tmp_path, search(**options), max_epochs=3, callbacks=[saver, At(2 * STEPS - 1, wide(which))])
    assert saved_is_good(tmp_path / "last.ckpt")
    assert [path.name for path in (tmp_path / "alpha").iterdir()] == ["epoch_0000.npz"]


@pytest.mark.parametrize("what", ["α", "weight", "buffer", "moment"])
def test_no_checkpoint_is_written_of_a_state_that_is_not_finite(tmp_path: Path, what: str) -> None:
    """Whoever asks for one, at whatever moment."""
    running = fit(tmp_path)
    module: Any = running.lightning_module
    running.save_checkpoint(tmp_path / "good.ckpt")
    place = {
        "α": module.alphas["cell"].data,
        "weight": module.supernet.body.classifier.weight.data,
        "buffer": next(module.supernet.buffers()),
        "moment": running.optimizers[1].state[module.alphas["cell"]]["exp_avg_sq"],
    }[what]
    place.view(-1)[0] = math.nan
    with pytest.raises(NotFiniteError, match=r"^Expected a finite state to save, but got one that is not in \S+"):
        running.save_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "bad.ckpt").exists()
    assert saved_is_good(tmp_path / "good.ckpt")


def test_another_process_with_a_bad_state_refuses_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is averaged is above zero on every process as soon as it is on one."""
    module, asked = torch.nn.Linear(2, 2), []
    monkeypatch.setattr("robustnas.training.finite.average", lambda values: asked.append(values) or [values[0] + 0.5])
    with pytest.raises(NotFiniteError, match="in another process"):
        check_saved(module, ())
    assert len(asked) == 1


@pytest.mark.parametrize("gradient", [FirstOrder(), Unrolled(), UnrolledByDifferences()])
def test_the_loss_of_α_that_is_checked_is_that_of_all_processes(gradient: Any) -> None:
    """A loss that is not finite on another process comes with the gradients, so that all processes stop at one step."""
    weight, alpha = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    averages: list[int] = []

    def average(tensors: Any) -> list[Tensor]:
        averages.append(len(tensors))
        return [t * math.nan if t.dim() == 0 else t for t in tensors]

    def arch_loss(weights: Any) -> Tensor:
        return (weights["w"] * alpha).sum()

    step = Step(0.1, 0.0, 0.0, False, {})
    problem = Bilevel(arch_loss, lambda w: (w["w"] ** 2 * alpha).sum(), {"w": weight}, [alpha], step, average)
    slopes, loss = gradient.of(problem)
    assert loss.isnan()
    assert slopes[0].isfinite().all()
    assert len(averages) == (1 if isinstance(gradient, FirstOrder) else 3)  # no collective more than before


def test_a_norm_shows_what_is_not_finite() -> None:
    assert norm_of([torch.tensor([3.0]), torch.tensor([4.0])]).item() == 5
    for bad in (math.nan, math.inf, 1e30):
        assert not norm_of([torch.tensor([1.0, bad])]).isfinite()


def test_the_earliest_bad_number_is_named_where_reading_is_deferred() -> None:
    from test_checks import Elsewhere

    finite, bad, good = (
        Finite(),
        torch.tensor(math.nan).as_subclass(Elsewhere),
        torch.tensor(1.0).as_subclass(Elsewhere),
    )
    for step in range(9):
        finite.check("training loss", bad if step > 5 else good, step + 1, 0, False)
        finite.check("gradient of the weights", bad if step > 4 else good, step + 1, 0, False)
    with pytest.raises(NotFiniteError, match=r"^Expected a finite gradient of the weights, .* at step 6 "):
        finite.check("training loss", bad, 50, 0, False, lambda: [("never asked", 1 / 0)])  # type: ignore[list-item]


def test_an_evaluation_stops_too(tmp_path: Path) -> None:
    def act(module: Any) -> None:
        next(iter(module.parameters())).register_hook(lambda slope: slope * math.nan)

    module = EvaluationModule(ResNet(), image_channels=1)
    with pytest.raises(NotFiniteError, match=r"^Expected a finite gradient of the weights, .* at step 3 .* in "):
        fit(tmp_path, module, max_epochs=1, callbacks=[At(3, act)])
    assert all(parameter.isfinite().all() for parameter in module.parameters())


class Said(logging.Handler):
    """What a search says."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log, handler = logging.getLogger("pytorch_lightning.robustnas"), Said()
    monkeypatch.setattr(log, "handlers", [*log.handlers, handler])
    return handler.sentences


STOP, RAISE = CurvatureRise(interval=1), RaiseDecay(CurvatureRise(interval=1))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (STOP, math.nan),
        (RAISE, math.inf),
        *(
            pytest.param(rule, value, marks=pytest.mark.slow)
            for rule, value in ((STOP, math.inf), (STOP, -math.inf), (RAISE, math.nan), (RAISE, -math.inf))
        ),
    ],
)
def test_an_eigenvalue_that_is_not_finite_is_said_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], value: float, rule: Any
) -> None:
    found = iter([1.0, value, 2.0])
    module = search(stopping=rule)
    monkeypatch.setattr(module.hooks["early_stopping"], "measure_curvature", lambda batch: Measured(next(found)))
    running = fit(tmp_path, module, max_epochs=3)
    assert running.current_epoch == 3
    assert (module.hooks["early_stopping"].epochs, module.hooks["early_stopping"].values) == ([0, 2], [1.0, 2.0])
    assert [s for s in said if "curvature" in s] == [
        f"The curvature after epoch 1 is {value}; the stopping rule ignores it."
    ]
    assert [row.get("arch/curvature") for row in rows(running)] == [1.0, None, 2.0]


def test_the_eigenvalue_of_a_hessian_that_is_not_finite_is_not_a_number() -> None:
    alpha = torch.zeros(3, requires_grad=True)
    hessian = Hessian((alpha.abs() ** 1.5).sum(), [alpha])  # its second derivative at zero is infinite
    assert math.isnan(hessian.dominant_eigenvalue())


def test_a_row_of_α_that_no_gradient_reaches_is_named_once(tmp_path: Path, said: list[str]) -> None:
    """With Sparsemax, a row whose support is one operation has no gradient: it can never leave."""

    def dominate(module: SearchModule) -> None:
        module.alphas["cell"].data[3, 1] += 5.0

    module = search(relaxation=Sparsemax())
    module.unreached.patience = STEPS
    fit(tmp_path, module, max_epochs=4, callbacks=[At(0, dominate)])
    assert [s for s in said if "gradient" in s] == [
        "α of the cell cell, edge 0-3, had no gradient in the last 5 of 5 architecture steps: "
        "nothing is being learnt about this edge."
    ]


def test_which_rows_count_as_unreached() -> None:
    unreached = Unreached(NASBench201, patience=3)
    kept = {"cell": torch.ones(6, 5, dtype=torch.bool)}
    kept["cell"][4, 1:] = False  # one candidate is left
    slope = torch.zeros(6, 5)
    slope[0], slope[1, 2] = 1.0, math.nan
    assert unreached.sentences(kept) == []
    for step in range(5):
        slope[2] = float(step == 2)
        unreached.note({"cell": slope})
    names = [re.findall(r"edge (\S+), had no gradient in the last (\d) of 5", s) for s in unreached.sentences(kept)]
    assert names == [[("0-3", "5")], [("2-3", "5")]]
    assert unreached.sentences(kept) == []
    unreached.note({"cell": slope * 0})
    assert len(unreached.sentences(kept)) == 1  # edge 1-2, after the third step
