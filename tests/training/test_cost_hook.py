"""Searches with a target for the cost: the multiplier, what is met and said, and a search that goes on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from runs import StopAfter, differing, fit, rows, search, state

from robustnas.__main__ import main
from robustnas.analysis import History, judge
from robustnas.analysis.cost_outcome import read_cost, share
from robustnas.cost import Profiler
from robustnas.reports import report
from robustnas.runs.record import Run, write_json
from robustnas.strategies import ExpectedCost, Strongest, WithinTarget
from robustnas.training.hooks import cost
from robustnas.training.hooks.cost import CostHook

SIZE: dict[str, Any] = {"channels": 4, "cells": 1}


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of the search space at the size of the searches."""
    found = Profiler("NASBench201", (1, 8, 8), **SIZE).table(["flops"])
    write_json(tmp_path / "costs.json", found.to_json())
    return str(tmp_path / "costs.json")


def held_to(table: str, target: float, **options: Any) -> Any:
    return search(arch_lr=0.1, penalty=ExpectedCost(table, measure="flops", target=target, rate=40.0), **options)


def dear(module: Any) -> Any:
    """The search with most of α on the dearest operation of every edge."""
    with torch.no_grad():
        module.alphas["cell"][:, 3] = 0.6
    return module


class Follow(Callback):
    """The multiplier after each step, with the cost of the genotype."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, bool, float]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        hook = module.hooks["cost"]
        cost = module.penalty.genotype_cost(module.genotype(), module.space)
        self.steps.append((hook.held, hook.missed, cost))


def test_a_target_is_met_and_said(tmp_path: Path, table: str) -> None:
    """A search that starts at the dearest genotype leaves it for the target, and stays near it without one."""
    free = dear(search(arch_lr=0.1, penalty=ExpectedCost(table, 1e5, "flops", "linear", weight=0.0)))
    fit(tmp_path / "free", free, max_epochs=3, limit_val_batches=1)
    cost = read_cost(tmp_path / "free", None)
    assert cost is not None
    assert (cost.met, cost.target) == (None, None)
    low, high = free.penalty.range(free.space)
    follow, module = Follow(), dear(held_to(table, target := low + 0.6 * (high - low)))
    assert cost.cost > target
    fit(tmp_path / "held", module, max_epochs=3, limit_val_batches=1, callbacks=[follow])
    multiplier = 0.0
    for held, missed, cost_then in follow.steps:  # the recursion, from the costs alone
        multiplier = max(0.0, multiplier + 40.0 * 0.1 * (cost_then / target - 1))
        assert held == pytest.approx(multiplier, rel=1e-12)
        assert missed == (cost_then > target)
    outcome = read_cost(tmp_path / "held", module.genotype())
    assert outcome is not None
    assert outcome.met is True
    assert outcome.cost == module.penalty.genotype_cost(module.genotype(), module.space) <= target
    assert outcome.finished
    row = rows(module.trainer)[-1]
    assert row["cost/genotype"] == pytest.approx(outcome.cost)
    assert row["cost/expected"] == pytest.approx(outcome.expected)
    assert row["cost/multiplier"] == pytest.approx(follow.steps[-1][0])
    verdict = judge(History.of_run(tmp_path / "held"))
    assert verdict.cost == outcome
    assert outcome.line in " ".join(verdict.text().split())
    assert json.loads(verdict.to_json())["cost"]["met"] is True
    assert "cost target met: flops of the final genotype" in report([tmp_path / "held"])


def test_a_target_that_is_always_met_changes_nothing(tmp_path: Path, table: str) -> None:
    plain = fit(tmp_path / "a", search(arch_lr=0.1))
    high = held_to(table, 1e9)
    held = fit(tmp_path / "b", high)
    assert differing(state(plain), state(held)) == []
    hook: Any = high.hooks["cost"]
    assert list(hook._remarks()) == [
        f"The dearest architecture costs {high.penalty.range(high.space)[1]:,.7g} by {table}, no more than the target "
        "of 1e+09: every architecture meets it."
    ]


def test_a_search_goes_on_with_its_multiplier(tmp_path: Path, table: str) -> None:
    target = 1.05 * ExpectedCost(table, 1e5, "flops").range(search().space)[0]
    whole = fit(tmp_path / "whole", held_to(table, target), max_epochs=2, limit_val_batches=1)
    saver = ModelCheckpoint(tmp_path, "begun", every_n_train_steps=3, save_on_train_epoch_end=False)
    with pytest.raises(RuntimeError, match="killed"):
        fit(
            tmp_path / "cut", held_to(table, target), max_epochs=2, limit_val_batches=1, callbacks=[saver, StopAfter(4)]
        )
    held = torch.load(tmp_path / "begun.ckpt", weights_only=True)["robustnas"]["cost"]
    assert (held["multiplier"] > 0, held["missed"]) == (True, True)
    resumed = fit(tmp_path / "cut", held_to(table, target), tmp_path / "begun.ckpt", max_epochs=2, limit_val_batches=1)
    assert differing(state(resumed), state(whole)) == []
    hooks: list[Any] = [running.lightning_module.hooks["cost"] for running in (resumed, whole)]
    assert hooks[0].state_dict() == hooks[1].state_dict()


def test_a_missed_target_is_said_with_its_remedy(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = list[str]()
    monkeypatch.setattr(cost, "say", lambda _, sentence: said.append(sentence))
    module = held_to(table, target := ExpectedCost(table, 1e5, "flops").range(search().space)[0])
    fit(tmp_path / "run", module, limit_train_batches=1, callbacks=[ModelCheckpoint(tmp_path / "run", "last")])
    outcome = read_cost(tmp_path / "run", None)
    assert outcome is not None
    assert outcome.met is False
    assert f"cost target missed by {share(outcome.cost / module.penalty.target - 1)}: " in outcome.line
    assert outcome.line in " ".join(judge(History.of_run(tmp_path / "run")).text().split())
    _, command, says = said[-1].split("`")
    assert said[-2] == f"{outcome.line.capitalize()}."
    assert says.strip() == "makes a genotype within the target, without training."
    name, *words = shlex.split(command)
    assert (name, words[:2]) == ("robustnas", ["select", str(tmp_path / "run")])
    assert main(words) == 0
    genotype = Run(tmp_path / "run" / "withintarget").genotype()
    assert module.penalty.genotype_cost(genotype, module.space) == target
    assert f"Cost: flops of the genotype {target:,} multiply-adds for an image, target {target:,}." in (
        capsys.readouterr().out
    )


def test_the_multiplier_follows_alpha_where_the_selection_meets_the_target(tmp_path: Path, table: str) -> None:
    low, high = ExpectedCost(table, 1e5, "flops").range(search().space)
    target = low + 0.1 * (high - low)
    module = dear(held_to(table, target, selection=WithinTarget(table, target, "flops")))
    fit(tmp_path / "run", module, limit_train_batches=2)
    outcome = read_cost(tmp_path / "run", module.genotype())
    assert outcome is not None
    assert (outcome.met, outcome.cost) == (True, module.penalty.genotype_cost(module.genotype(), module.space))
    strongest = Strongest().genotype(module.space, module.architecture_weights())
    assert module.penalty.genotype_cost(strongest, module.space) > target
    assert module.hooks["cost"].multiplier > 0


def test_no_remedy_is_named_that_would_not_meet_the_target(table: str) -> None:
    module = held_to(table, 1.01 * ExpectedCost(table, 1e5, "flops").range(search().space)[0])
    hook = CostHook(module.penalty, module)
    assert hook._remedy(Path("run")).startswith("`robustnas select run --selection WithinTarget --selection.table ")
    left: Any = module.architecture_weights()
    left["cell"] = left["cell"] * torch.tensor([0.0, 0, 1, 1, 0])  # what costs nothing was pruned
    module.final_architecture_weights = lambda: left
    assert hook._remedy(Path("run")) == ""


def test_a_table_of_another_network_is_named(tmp_path: Path) -> None:
    other = Profiler("NASBench201", (1, 8, 8), channels=8).table(["flops"])
    write_json(tmp_path / "costs.json", other.to_json())
    module = held_to(str(tmp_path / "costs.json"), 1e9)
    hook = CostHook(module.penalty, module)
    assert hook._differing() == {"channels": (8, 4), "cells": (5, 1)}
