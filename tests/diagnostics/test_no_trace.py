"""Diagnostics look and never touch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.diagnostics import (
    Budget,
    Diagnostic,
    Diagnostics,
    ImplicitShare,
    LoggerView,
    default_diagnostics,
    preserve_state,
)
from runs import differing, digits, fit, rows, search, state

from robustnas import diagnostics, variants
from robustnas.data import Digits, Probe
from robustnas.strategies import CurvatureRise, LargestDrop, RaiseDecay, ShareThreshold, Unrolled
from robustnas.training.curvature import Measured
from robustnas.training.search import SearchModule
from robustnas.training.search_hook import SearchHook

pytestmark = pytest.mark.usefixtures("few_samples")

QUICK = ("ProxylessNAS",)
LONGER = sorted(set(variants.__all__) - set(QUICK))


def small(variant: str, **options: Any) -> Any:
    shared = {"channels": 4, "cells": 1, "image_channels": 1, "arch_start": 0}
    quick = (
        {"selection": LargestDrop("accuracy", finetune=1)} if variant == "DARTSPT" else {}
    )  # 7 epochs in place of 27
    return getattr(variants, variant)(space="NASBench201", **{**shared, **quick, **options})


def few() -> Digits:
    """Three batches of weights and one of α in an epoch."""
    return digits(fractions=(0.04, 0.02, 0.02))


def without(kind: type[Diagnostic]) -> list[Diagnostic]:
    return [measure for measure in default_diagnostics() if not isinstance(measure, kind)]


def unwatched(found: list[dict[str, float]], names: set[str]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name in names} for row in found]


def compare(folder: Path, make: Callable[[], SearchModule], epochs: int = 2) -> list[dict[str, float]]:
    """Run a search alone and watched, and see that nothing differs but what is measured, which is returned."""
    alone = fit(folder / "alone", make(), data=few(), max_epochs=epochs)
    after = torch.random.get_rng_state()
    watching = Diagnostics([*without(ImplicitShare), ImplicitShare(always=True, differences=True)], budget=None)
    watched = fit(folder / "watched", make(), data=few(), max_epochs=epochs, callbacks=[watching])
    assert differing(state(watched), state(alone)) == []
    assert torch.equal(torch.random.get_rng_state(), after)
    names = set(rows(alone)[0]) | set(rows(alone)[-1])
    assert unwatched(rows(watched), names) == unwatched(rows(alone), names)
    assert watched.lightning_module.genotype() == alone.lightning_module.genotype()
    assert set(watching.budget.costs) == {"curves", *(measure.name for measure in default_diagnostics())}
    return rows(watched)


@pytest.mark.parametrize("variant", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONGER)])
def test_a_watched_search_is_the_same_bit_for_bit(tmp_path: Path, variant: str) -> None:
    compare(tmp_path, lambda: small(variant))


class Rising(variants.RobustDARTS):
    """Its curvature rises in the fourth epoch, and after the return no more."""

    def hooks_of_parts(self) -> list[SearchHook]:
        (hook,) = super().hooks_of_parts()
        hook.measure_curvature = lambda _: Measured(9.0 if (self.current_epoch, hook.raised) == (3, 0) else 1.0)
        return [hook]


BACK = RaiseDecay(CurvatureRise(window=1, lag=2, start=0, interval=1))
SITUATIONS: dict[str, Callable[[], SearchModule]] = {
    "α waits": lambda: small("ProxylessNAS", arch_start=1),
    "goes back": lambda: Rising(space="NASBench201", channels=4, cells=1, image_channels=1, stopping=BACK),
    "prunes": lambda: search(pruning=ShareThreshold(0.0, 1.0), alpha_init=0.3, arch_lr=0.03),
    "drops paths, second order": lambda: search(gradient=Unrolled(), drop_path=0.3),
    "edge weights, second order": lambda: small("PCDARTS", gradient=Unrolled()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SITUATIONS)
def test_nor_is_one_touched_in_situations_of_its_own(tmp_path: Path, name: str) -> None:
    found = compare(tmp_path, SITUATIONS[name], epochs=5 if name == "goes back" else 2)
    assert [row["epoch"] for row in found] == ([0, 1, 2, 3, 2, 3, 4] if name == "goes back" else [0, 1])
    assert all("gap/loss" in row for row in found)


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return fit(tmp_path_factory.mktemp("alone"), search("S2", channels=2), data=few())


@pytest.mark.parametrize(
    "measure",
    [  # the share is measured in each of the searches above, too
        pytest.param(one, id=one.name, marks=pytest.mark.slow if isinstance(one, ImplicitShare) else [])
        for one in default_diagnostics()
    ],
)
def test_each_by_itself_leaves_no_trace_and_says_something(
    tmp_path: Path, measure: Diagnostic, unmeasured: Trainer
) -> None:
    measure.budget = Budget(None)
    parts, alone = {}, unmeasured
    if isinstance(measure, ImplicitShare):
        parts = {"gradient": Unrolled()}
        alone = fit(tmp_path / "alone", search("S2", channels=2, **parts), data=few())
    watched = fit(tmp_path / "watched", search("S2", channels=2, **parts), data=few(), callbacks=[measure])
    assert differing(state(watched), state(alone)) == []
    assert isinstance(measure, LoggerView) or set(rows(watched)[0]) > set(rows(alone)[0])


def test_a_watched_search_resumes_exactly(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    whole = fit(tmp_path / "whole", data=few(), max_epochs=2, callbacks=[saver, Diagnostics(budget=None)])
    resumed = fit(
        tmp_path / "resumed", search(), tmp_path / "step=4.ckpt", data=few(), max_epochs=2,
        callbacks=[Diagnostics(budget=None)],
    )  # fmt: skip
    assert differing(state(resumed), state(whole)) == []
    timed = ("diagnostics/",)
    shown = [[{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows(t)] for t in (resumed, whole)]
    assert shown[0] == shown[1]
    assert "genotype/changed" in shown[0][1]


def test_what_a_measure_may_change_is_put_back() -> None:
    module = search("S2")
    module.train()
    buffers = {name: buffer.clone() for name, buffer in module.supernet.named_buffers()}
    weight = module.supernet.body.classifier.weight
    weight.grad = slope = torch.ones_like(weight)
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="fails"):
        _fail(module)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert weight.grad is slope
    assert all(part.training for part in module.modules())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.supernet.named_buffers())


def _fail(module: SearchModule) -> None:
    with preserve_state(module):
        torch.rand(3)
        module.supernet.body.classifier.weight.grad = None
        module.eval()
        for buffer in module.supernet.buffers():
            buffer.zero_()
        raise RuntimeError("a measure that fails")


def test_the_probe_gives_the_same_samples_each_time_and_never_the_test_role() -> None:
    data = digits()
    data.setup("fit")
    probe = Probe(data, torch.device("cpu"))
    first = probe.batches("arch", 2)
    again = Probe(data, torch.device("cpu")).batches("arch", 2)
    assert len(first) == 2
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))
    assert sum(len(batch.targets) for batch in probe.all("selection")) == len(data.split.indices["selection"])
    assert probe.measured == "selection"
    with pytest.raises(ValueError, match="Expected `role` to be weights, arch or selection, but got 'test'"):
        probe.batches("test", 1)


def test_every_diagnostic_is_exported_and_explains_itself() -> None:
    found = [value for value in vars(diagnostics).values() if isinstance(value, type) and issubclass(value, Diagnostic)]
    assert {type(measure) for measure in default_diagnostics()} <= set(found)
    for kind in found:
        assert kind.__name__ in diagnostics.__all__
        assert len((kind.__doc__ or "").split()) > 30
    assert all(isinstance(measure, Diagnostic) for measure in default_diagnostics())
    assert isinstance(small("DARTS"), SearchModule)
