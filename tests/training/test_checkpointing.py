"""A search that computes activations again takes the steps of one that keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from golden import check
from runs import fit, search

from robustnas.strategies import AdversarialPerturbation, FirstOrder, Unrolled, UnrolledByDifferences

PARTS: list[Any] = [
    {"gradient": FirstOrder()},
    {"gradient": Unrolled()},
    pytest.param({"gradient": UnrolledByDifferences()}, marks=pytest.mark.slow),
    {"perturbation": AdversarialPerturbation(steps=2)},
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(next(iter(part.values()))).__name__)
def test_checkpointing_changes_no_step(tmp_path, part: dict[str, Any]) -> None:
    """Although losses are taken at other weights than those of the module."""
    ends = []
    for checkpointing in (False, True):
        module = search(checkpointing=checkpointing, **part).double()
        options = {"precision": "64-true", "limit_train_batches": 2, "limit_val_batches": 0}
        fit(tmp_path, module, **options)
        ends.append(module.state_dict())
    for name, value in ends[0].items():
        check(ends[1][name], value, rtol=1e-9, atol=1e-11)
