"""Which operations a stage keeps: by brute force, and as in the original."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from golden import golden
from torch import Tensor

from robustnas.spaces import DARTS, S2, DARTSWithoutNone, NASBench201
from robustnas.strategies import DirichletSample, KeepStrongest, ShareThreshold, StepContext
from robustnas.training.architecture_parameters import candidate_mask
from robustnas.training.search import SearchModule


def context(epoch: int) -> StepContext:
    return StepContext("arch", epoch, 50, torch.Generator())


def test_what_stays_is_what_the_original_keeps() -> None:
    arrays, _ = golden("drnas")
    shares = {kind: DirichletSample().shares(arrays[f"alpha/{kind}"]) for kind in ("normal", "reduce")}
    found = KeepStrongest().prune(DARTSWithoutNone, shares, candidate_mask(DARTSWithoutNone), context(24))
    for kind, kept in found.items():
        assert torch.equal(kept.long(), arrays[f"out/mask/{kind}"])


def by_hand(space: Any, kind: str, row: int, shares: Tensor, active: Tensor, number: int) -> set[int]:
    """Sort by share, and give the last place to the strongest that can be selected if none of the others can."""
    cell = space.cells[kind]
    columns = [k for k in range(len(shares)) if active[k]]
    order = sorted(columns, key=lambda k: (-float(shares[k]), k))
    selectable = [k for k in order if k in cell.selectable(cell.edges[row])]
    best = order[:number]
    return set(best) if selectable[0] in best else {*best[: number - 1], selectable[0]}


@pytest.mark.parametrize("space", [DARTS, NASBench201], ids=lambda space: space.name)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_strongest_stay_and_one_that_can_be_selected(space: Any, number: int) -> None:
    torch.manual_seed(number)
    active = candidate_mask(space)
    shares = {kind: torch.randn(mask.shape).mul(2).softmax(dim=-1) for kind, mask in active.items()}
    first = next(iter(active))
    shares[first][0] = torch.tensor([0.6, *[0.4 / (shares[first].shape[1] - 1)] * (shares[first].shape[1] - 1)])
    shares[first][1] = 1 / shares[first].shape[1]  # all equal
    active[first][2, 1] = False
    found = KeepStrongest(((5, number),)).prune(space, shares, active, context(4))
    for kind, kept in found.items():
        for row, own in enumerate(kept):
            expected = by_hand(space, kind, row, shares[kind][row], active[kind][row], number)
            assert set(own.nonzero().flatten().tolist()) == expected


def test_stages_come_one_after_the_other_and_nothing_returns() -> None:
    rule = KeepStrongest(((3, 4), (6, 2)), rest=2)
    active = candidate_mask(NASBench201)
    left = []
    for epoch in range(8):
        shares = {"cell": torch.rand(6, 5).where(active["cell"], 0.0)}
        before, active = active, rule.prune(NASBench201, shares, active, context(epoch))
        assert not (active["cell"] & ~before["cell"]).any()
        left.append(int(active["cell"].sum()))
    assert left == [30, 30, 24, 24, 24, 12, 12, 12]
    assert [rule.rests(epoch) for epoch in range(10)] == [False] * 3 + [True, True, False, True, True, False, False]
    assert (rule.start, KeepStrongest().start) == (2, 24)
    assert not ShareThreshold().rests(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeepStrongest(()), "Expected `stages` to be pairs of an epoch and a number of operations, with "),
        (lambda: KeepStrongest(((0, 4),)), "numbers that fall to 1 or more, but got [[0, 4]]."),
        (lambda: KeepStrongest(((9, 4), (5, 2))), "but got [[9, 4], [5, 2]]."),
        (lambda: KeepStrongest(((5, 2), (9, 4))), "but got [[5, 2], [9, 4]]."),
        (lambda: KeepStrongest(((5, 0),)), "but got [[5, 0]]."),
        (lambda: KeepStrongest(rest=-1), "Expected `rest` to be zero or more, but got -1."),
        (
            lambda: SearchModule(S2, 4, 3, pruning=KeepStrongest()),
            "Expected `stages` to keep less than the 2 operations that an edge of the space S2 has, but got 4.",
        ),
        (
            lambda: SearchModule(NASBench201, 4, cells=1, pruning=KeepStrongest(((2, 3),)), arch_start=2),
            "Expected `stages` to begin after `arch_start`, 2, from which on α moves, but got one that begins at epoch "
            "2.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
