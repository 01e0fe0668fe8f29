"""What sparsemax drops from a search stays where it is, unless weight decay is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden import check
from robustnas.variants import SparsemaxDARTS
from runs import differing, fit, state

from robustnas.strategies import Softmax, Sparsemax, Unrolled


def small(**options: object) -> SparsemaxDARTS:
    settings = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1}
    return SparsemaxDARTS(**{**settings, **options})


@pytest.mark.parametrize("gradient", [None, Unrolled()], ids=["first order", "second order"])
def test_a_dead_operation_stays_where_it_is(tmp_path: Path, gradient: Unrolled | None) -> None:
    module = small(**({} if gradient is None else {"gradient": gradient}))
    module.alphas["cell"].data[:, 2] = -2.0
    before = module.alphas["cell"].detach().clone()
    fit(tmp_path, module)
    after = module.alphas["cell"].detach()
    assert torch.equal(after[:, 2], before[:, 2])
    assert (after != before)[:, [1, 3, 4]].all()
    assert module.genotype().count("nor_conv_1x1") == {"cell": 0}


def test_with_weight_decay_it_moves_by_full_steps(tmp_path: Path) -> None:
    module = small(arch_weight_decay=1e-3)
    module.alphas["cell"].data[:, 2] = -2.0
    fit(tmp_path, module)
    check(module.alphas["cell"][:, 2], torch.full((6,), -2.0 + 5 * 3e-4), rtol=1e-5)


def test_the_variant_is_darts_but_for_the_relaxation_and_the_decay_of_alpha(tmp_path: Path) -> None:
    module = small()
    assert module.relaxation == Sparsemax(1.0)
    assert module.arch_weight_decay == 0
    first, second = (
        state(fit(tmp_path / "a")),
        state(fit(tmp_path / "b", small(relaxation=Softmax(), arch_weight_decay=1e-3))),
    )
    assert differing(first, second) == []
