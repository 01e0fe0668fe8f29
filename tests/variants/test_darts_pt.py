"""DARTS-PT is a choice of selection, which goes with any other part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.variants import DARTSPT, GDAS, PCDARTS, SmoothDARTS, SparsemaxDARTS
from runs import fit
from torch import Tensor

from robustnas.strategies import (
    GumbelOneHot,
    LargestDrop,
    RandomPerturbation,
    SkipDominance,
    Softmax,
    Sparsemax,
    StepContext,
    Unperturbed,
)

SMALL: dict[str, Any] = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1}
QUICK: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}


def test_defaults_are_those_of_the_paper() -> None:
    module = DARTSPT(layers=3)
    assert module.selection == LargestDrop("accuracy", 5, None, True, True)
    assert (module.lr, module.lr_min, module.weight_decay, module.arch_lr) == (0.025, 0.001, 3e-4, 3e-4)
    assert (module.relaxation, module.perturbation) == (Softmax(), Unperturbed())


PAIRS: dict[str, tuple[Any, dict[str, Any]]] = {
    "GDAS": (GDAS, {}),
    "GDAS, sampled at evaluation": (GDAS, {"relaxation": GumbelOneHot(evaluation="sampled")}),
    "PC-DARTS": (PCDARTS, {"arch_start": 0, "space": "S2", "layers": 3, "cells": None}),
    "SDARTS-ADV": (SmoothDARTS, {}),
    "sparsemax": (SparsemaxDARTS, {}),
    "skips": (DARTSPT, {"stopping": SkipDominance(max_skips=0)}),
}


@pytest.mark.parametrize(
    "name", ["GDAS", *(pytest.param(name, marks=pytest.mark.slow) for name in list(PAIRS) if name != "GDAS")]
)
def test_any_search_can_be_selected_from_in_this_way(name: str, tmp_path: Path) -> None:
    kind, options = PAIRS[name]
    module = kind(**{**SMALL, **options, "selection": LargestDrop("loss", finetune=1)})
    running = fit(tmp_path, module, **QUICK)
    assert running.current_epoch == 1 + module.selection.epochs(module.space)
    assert module.hooks["perturbation_selection"].decisions.complete(module.space)
    assert module.genotype() == module.hooks["perturbation_selection"].decisions.genotype(module.space)
    module.genotype().validate(module.space)
    scores = [
        score["loss"] for one in module.hooks["perturbation_selection"].entries for score in one["without"][0].values()
    ]
    assert len(set(scores)) > len(scores) / 2  # every operation was there to be missed


def test_a_sampled_relaxation_is_scored_at_its_mean() -> None:
    alpha, context = torch.randn(6, 5), StepContext("evaluation", 0, 1, torch.Generator())
    for relaxation in (GumbelOneHot(), GumbelOneHot(evaluation="sampled")):
        mixture = relaxation.expected(alpha, context)
        assert torch.equal(mixture.operations, alpha.softmax(dim=-1))
        assert mixture.active is None
    assert torch.equal(Sparsemax().expected(alpha, context).operations, Sparsemax().project(alpha))


def test_smoothing_is_at_its_largest_radius_while_decisions_are_taken(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(RandomPerturbation):
        def perturb(self, mixtures: Any, loss_at: Any, context: StepContext, average: Any) -> Any:
            seen.append((context.epoch, context.epochs))
            return super().perturb(mixtures, loss_at, context, average)

    module = DARTSPT(**SMALL, perturbation=Watched(), selection=LargestDrop(finetune=1))
    fit(tmp_path, module, **{**QUICK, "max_epochs": 2})
    assert seen == [(0, 2), (1, 2), *[(2, 2)] * 6]


def test_alpha_rests_in_the_blank_variant(tmp_path: Path) -> None:
    module = DARTSPT(**SMALL, alpha_init=0.0, arch_start=1000000, selection=LargestDrop(finetune=1))
    fit(tmp_path, module, **QUICK)
    alpha: Tensor = module.alphas["cell"]
    assert not alpha.any()
    assert module.hooks["perturbation_selection"].decisions.complete(module.space)
