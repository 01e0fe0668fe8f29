"""Verification passes where nothing is broken, and names the check that guards what is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breakages import (
    all_paths,
    both_optimisers,
    clipped_together,
    decayed_with_the_weights,
    edges_swapped,
    first_order_twice,
    implicit_term_flipped,
    moved_by_the_weight_step,
    rate_halved,
    roles_overlap,
    weight_dropped,
)
from robustnas.diagnostics import Diagnostic
from tables import with_slow

from robustnas.data.loader import TensorLoader
from robustnas.data.roles import SplitImages
from robustnas.training import SearchModule
from robustnas.verification import checks, repeated
from robustnas.verification.checks import CHECKS, run_checks
from robustnas.verification.finding import Outcome
from robustnas.verification.subject import Subject, describe

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

ROOT = Path(__file__).resolve().parents[2]
ALONE = [name for name in CHECKS if name != "ranks"]
RUNS = ["repeat", "resume", "trace", "test set"]
MATHS = [name for name in ALONE if name not in RUNS]
SMALL = [
    "--model=DARTS", "--model.space=NASBench201", "--model.channels=4", "--model.cells=1", "--data=Digits",
]  # fmt: skip
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def make(tmp_path_factory: Any) -> Callable[..., Subject]:
    def subject(method: str = "", *options: str) -> Subject:
        words = ["-c", str(ROOT / f"configs/digits_{method}.yaml")] if method else SMALL
        return describe([*words, *options], tmp_path_factory.mktemp("runs"))

    return subject


@pytest.fixture(scope="module")
def settled(make: Callable[..., Subject]) -> Subject:
    """A search whose undisturbed runs are over."""
    subject = make()
    outcomes = {outcome.name: outcome for outcome in run_checks(subject, RUNS)}
    assert {name: one.says for name, one in outcomes.items() if one.status != "passed"} == {}
    return subject


def failing(subject: Subject, names: list[str]) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in run_checks(subject, names) if outcome.status == "failed"}


MATHS_BROKEN: dict[str, tuple[Callable[[Patch], None], str, str]] = {
    "α in both optimisers": (both_optimisers, "partition", "alphas.cell"),
    "α decayed with the weights": (decayed_with_the_weights, "partition", "a wrong weight decay"),
    "α clipped with the weights": (clipped_together, "partition", "depends on the gradient of α"),
    "α moved by the weight step": (moved_by_the_weight_step, "partition", "changed by the wrong step"),
    "first order twice as long": (first_order_twice, "gradient", "autodiff"),
    "implicit term with the other sign": (implicit_term_flipped, "second order", "differences"),
    "rate of the step halved": (rate_halved, "second order", "differences"),
    "weights of two edges swapped": (edges_swapped, "bundles", "outputs"),
    "weight of an operation dropped": (weight_dropped, "bundles", "gradients of mixtures"),
    "all paths computed": (all_paths, "paths", "without a weight"),
    "roles overlap": (roles_overlap, "roles", "in two roles"),
}


# By default the checks name one thing that each guards.
OTHER_STEPS = (
    "α decayed with the weights", "α clipped with the weights", "α moved by the weight step", "rate of the step halved",
    "weight of an operation dropped",
)  # fmt: skip
OTHER_RUNS = (
    "loaders start anew", "schedule lost", "a diagnostic moves buffers", "a diagnostic leaves evaluation mode",
)  # fmt: skip


@pytest.mark.parametrize("name", with_slow(MATHS_BROKEN, OTHER_STEPS))
def test_what_is_broken_in_a_step_is_named(name: str, make: Callable[..., Subject], monkeypatch: Patch) -> None:
    breaks, guarded, says = MATHS_BROKEN[name]
    breaks(monkeypatch)
    found = failing(make("gdas" if guarded == "paths" else ""), [guarded])
    assert list(found) == [guarded]
    assert says in found[guarded].says
    assert found[guarded].says.startswith("Expected ")


class Rude(Diagnostic):
    """A measure that leaves something behind: outside of what puts it back."""

    def __init__(self, leaves: Callable[[SearchModule], object]) -> None:
        super().__init__()
        self.leaves = leaves

    def measure(self, search: SearchModule, probe: Any) -> dict[str, float]:
        return {"rude": 1.0}

    def log_value(self, search: SearchModule, name: str, value: float) -> None:
        super().log_value(search, name, value)
        self.leaves(search)


def rude(leaves: Callable[[SearchModule], object]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(repeated, "default_diagnostics", lambda: [Rude(leaves)])


def buffers_moved(search: SearchModule) -> None:
    next(buffer for buffer in search.supernet.buffers() if buffer.is_floating_point()).add_(1e-3)


def loaders_start_anew(patch: Patch) -> None:
    patch.setattr(TensorLoader, "load_state_dict", lambda self, state: None)


def momentum_lost(patch: Patch) -> None:
    load = torch.optim.SGD.load_state_dict

    def forgetting(self: torch.optim.SGD, state: Any) -> None:
        load(self, state)
        self.state.clear()

    patch.setattr(torch.optim.SGD, "load_state_dict", forgetting)


def schedule_lost(patch: Patch) -> None:
    patch.setattr(torch.optim.lr_scheduler.LRScheduler, "load_state_dict", lambda self, state: None)


def counting_test_images(patch: Patch) -> None:
    def everywhere(self: SplitImages) -> Any:
        pixels = self.train.pixels.float() / 255
        return (float(pixels.mean()),), (float(pixels.std()),)

    patch.setattr(SplitImages, "statistics", everywhere)


RUNS_BROKEN: dict[str, tuple[Callable[[Patch], None], str, bool]] = {  # whether the undisturbed run is broken too
    "loaders start anew": (loaders_start_anew, "resume", False),
    "momentum lost": (momentum_lost, "resume", False),
    "schedule lost": (schedule_lost, "resume", False),
    "a diagnostic draws": (rude(lambda search: torch.rand(1)), "trace", False),
    "a diagnostic moves buffers": (rude(buffers_moved), "trace", False),
    "a diagnostic leaves evaluation mode": (rude(lambda search: search.eval()), "trace", False),
    "test images are counted": (counting_test_images, "test set", True),
}


@pytest.mark.parametrize("name", with_slow(RUNS_BROKEN, OTHER_RUNS))
def test_what_is_broken_in_a_run_is_named(
    name: str, settled: Subject, make: Callable[..., Subject], monkeypatch: Patch
) -> None:
    breaks, guarded, anew = RUNS_BROKEN[name]
    breaks(monkeypatch)
    found = failing(make() if anew else settled, [guarded, "repeat"])
    assert list(found) == [guarded]
    assert "tensors that differ to be at most 0, but got" in found[guarded].says


def test_a_run_that_is_never_the_same_is_named_once(make: Callable[..., Subject], monkeypatch: Patch) -> None:
    order = TensorLoader._order
    draw = random.Random()

    def shuffled(self: TensorLoader, epoch: int, cycle: int) -> torch.Tensor:
        found = order(self, epoch, cycle).tolist()
        draw.shuffle(found)
        return torch.tensor(found)

    monkeypatch.setattr(TensorLoader, "_order", shuffled)
    outcomes = {outcome.name: outcome for outcome in run_checks(make(), RUNS)}
    assert {name: one.status for name, one in outcomes.items()} == {
        "repeat": "failed",
        **dict.fromkeys(("resume", "trace", "test set"), "not applicable"),
    }
    assert "see the check `repeat`" in outcomes["resume"].says


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MATHS_BROKEN, *RUNS_BROKEN])
def test_no_other_check_fails(name: str, make: Callable[..., Subject], monkeypatch: Patch) -> None:
    breaks, guarded, _ = {**MATHS_BROKEN, **RUNS_BROKEN}[name]
    breaks(monkeypatch)
    also = ["partition"] if name == "momentum lost" else []  # it undoes its steps by the call that is broken
    assert list(failing(make("gdas" if guarded == "paths" else ""), ALONE)) == [*also, guarded]


SOUND = ["", "gdas", "snas"]  # the first is that which is broken above; the last has one level
OTHERS = [
    "beta_darts", "da2s", "darts_minus", "darts_pt", "darts_second_order", "drnas", "gaea", "lambda_darts",
    "mobile_gdas", "oles", "pc_darts", "proxyless_nas", "pruned_darts", "robust_darts", "smooth_darts",
    "smooth_darts_random", "sparsemax_darts",
]  # fmt: skip


@pytest.mark.parametrize("method", with_slow(SOUND, SOUND[1:]))
def test_steps_that_nothing_breaks_are_sound(method: str, make: Callable[..., Subject]) -> None:
    assert failing(make(method), MATHS) == {}


@pytest.mark.slow
@pytest.mark.parametrize("method", [*SOUND, *OTHERS])
def test_every_method_is_sound(method: str, make: Callable[..., Subject]) -> None:
    assert failing(make(method), ALONE) == {}


@pytest.mark.slow
def test_the_reduced_network_has_the_cells_that_a_part_needs(make: Callable[..., Subject]) -> None:
    subject = make("lambda_darts", "--model.space", "S2", "--model.layers", "8", "--model.cells", "null")
    assert subject.reduced().supernet.body.kinds == ["normal", "reduce", "reduce", "normal"]
    assert failing(subject, ["gradient", "second order"]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("options", [["S4"], ["S1"], ["DARTS", "imagenet"], ["DARTS", "nesterov"], ["DARTS", "drop"]])
def test_other_spaces_and_settings_are_sound(options: list[str], make: Callable[..., Subject]) -> None:
    space, *what = options
    words = ["--model.space", space, "--model.layers", "8", "--model.cells", "null"]
    settings = {"nesterov": ["nesterov", "true"], "drop": ["drop_path", "0.3"], "imagenet": ["checkpointing", "true"]}
    for one in what:
        words += [f"--model.{settings[one][0]}", settings[one][1]]
    subject = make("", *words, "--model.gradient", "UnrolledByDifferences")
    assert failing(subject, ALONE) == {}


@pytest.fixture
def importable(monkeypatch: Patch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("ROBUSTNAS_TRUST", "mutants")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "says"),
    [
        ("Alone", "rank 0 to succeed, but it failed: Expected all processes to hold the same `alphas.cell`"),
        ("Unchecked", "tensors that differ to be at most 0"),
        ("Summing", "error of a mean over ranks to be at most 0"),
        ("Straying", "mixtures that differ to be at most 0"),
    ],
)
def test_processes_that_part_are_named(mutant: str, says: str, importable: None, make: Callable[..., Subject]) -> None:
    found = failing(make("", "--model.class_path", f"mutants.{mutant}"), list(CHECKS))
    assert list(found) == ["ranks"]
    assert says in found["ranks"].says


@pytest.mark.slow
def test_processes_that_fail_say_why(make: Callable[..., Subject]) -> None:
    subject = make()
    subject.words = [*subject.words, "--model.channels", "0"]
    found = failing(subject, ["ranks"])
    assert "Expected rank 0 to succeed, but it failed: Expected " in found["ranks"].says


def test_a_check_that_raises_fails_and_the_others_go_on(settled: Subject, monkeypatch: Patch) -> None:
    def raising(subject: Subject) -> Any:
        raise RuntimeError("no such\nkernel")

    monkeypatch.setitem(checks.CHECKS, "gradient", raising)
    outcomes = list(run_checks(settled, ["gradient", "roles"]))
    assert [outcome.status for outcome in outcomes] == ["failed", "passed"]
    assert outcomes[0].says == "Expected no error, but got RuntimeError: no such kernel"
