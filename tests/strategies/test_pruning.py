"""Which operations leave: the rule by hand, its schedule, and who must stay."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
from tables import check_each
from torch import Tensor

from robustnas.spaces import DARTS, S1, S3, NASBench201, SearchSpace
from robustnas.strategies import NoPruning, Pruning, ShareThreshold, StepContext
from robustnas.training.architecture_parameters import candidate_mask


def context(epoch: int = 9, epochs: int = 10) -> StepContext:
    return StepContext("arch", epoch, epochs, torch.Generator())


def at(threshold: float) -> ShareThreshold:
    """The same threshold in every epoch."""
    return ShareThreshold(threshold, threshold)


def default_diagnostics(space: SearchSpace) -> dict[str, Tensor]:
    return candidate_mask(space)


def random_shares(space: SearchSpace, kept: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = {k: torch.randn(v.shape, generator=generator).masked_fill(~v, -torch.inf) for k, v in kept.items()}
    return {kind: a.softmax(dim=-1).nan_to_num(0.0) for kind, a in drawn.items()}


def row(shares: list[float], pruning: Pruning, kept: list[bool] | None = None, space: SearchSpace = NASBench201) -> str:
    """What stays of the operations of the first edge, as ones and zeros."""
    held = default_diagnostics(space)
    kind = next(iter(held))
    given = {k: v / v.sum(dim=-1, keepdim=True) for k, v in held.items()}
    given[kind][0] = torch.tensor(shares)
    if kept is not None:
        held[kind][0] = torch.tensor(kept)
    found = pruning.prune(space, given, held, context())
    return "".join(str(int(stays)) for stays in found[kind][0])


def test_nothing_leaves_by_default() -> None:
    kept = default_diagnostics(S1)
    found = NoPruning().prune(S1, random_shares(S1, kept), kept, context())
    assert all(torch.equal(found[kind], kept[kind]) for kind in kept)
    assert found is not kept


def test_shares_under_the_threshold_leave_by_hand() -> None:
    assert row([0.1, 0.2, 0.3, 0.25, 0.15], at(0.2)) == "01110"  # the threshold itself is reached
    assert row([0.1, 0.2, 0.3, 0.25, 0.15], at(0.26)) == "00100"
    assert row([0.1, 0.2, 0.3, 0.25, 0.15], at(0.0)) == "11111"
    assert row([0.1, 0.2, 0.3, 0.25, 0.15], at(1.0)) == "00100"
    assert row([0.5, 0.5, 0.0, 0.0, 0.0], at(0.5)) == "11000"
    assert row([0.2] * 5, at(1.0)) == "10000"  # the first of equals, as selection takes it


def test_who_left_never_returns() -> None:
    kept = [True, False, True, True, False]
    assert row([0.1, 0.9, 0.3, 0.6, 0.9], at(0.2), kept) == "00110"
    assert row([0.1, 0.9, 0.3, 0.6, 0.9], at(0.95), kept) == "00010"
    assert row([0.0, 0.9, 0.0, 0.0, 0.9], at(0.5), kept) == "10000"


def test_the_largest_share_that_can_be_selected_stays_beside_one_that_cannot() -> None:
    assert DARTS.cells["normal"].edges[0].operations[0] == "none"
    shares = [0.9, 0.01, 0.02, 0.03, 0.01, 0.01, 0.01, 0.01]
    assert row(shares, at(0.5), space=DARTS) == "10010000"
    assert row(shares, at(0.95), space=DARTS) == "00010000"
    assert row([0.3, 0.3, 0.4], at(1.0), space=S3) == "001"
    # in NAS-Bench-201 none is an operation like others
    assert row([0.9, 0.04, 0.03, 0.02, 0.01], at(0.5)) == "10000"


def test_an_edge_whose_operations_cannot_be_selected_keeps_the_largest() -> None:
    """Nothing of the kind is left by this rule itself, but another may have set what is kept."""
    only_none = [True] + [False] * 7
    assert row([0.2] + [0.8] + [0.0] * 6, at(1.0), only_none, DARTS) == "10000000"


@pytest.mark.parametrize("pruning", [at(0.0), at(0.3), at(1.0)], ids=str)
def test_an_edge_that_keeps_nothing_goes_on_so(pruning: ShareThreshold) -> None:
    assert row([0.2] * 5, pruning, [False] * 5) == "00000"


def test_every_edge_keeps_one_that_can_be_selected_and_it_is_what_selection_takes() -> None:
    def check(threshold: float, space: SearchSpace) -> None:
        for seed in range(5):
            kept = default_diagnostics(space)
            shares = random_shares(space, kept, seed)
            found = at(threshold).prune(space, shares, kept, context())
            for kind, cell in space.cells.items():
                assert found[kind].dtype == torch.bool
                assert not (found[kind] & ~kept[kind]).any()
                for number, edge in enumerate(cell.edges):
                    legal = [k for k, name in enumerate(edge.operations) if name not in cell.never_selected]
                    best = max(legal, key=lambda k: float(shares[kind][number, k]))
                    assert found[kind][number, best]
                    for k in range(len(edge.operations)):
                        stays = float(shares[kind][number, k]) >= threshold or k == best
                        assert bool(found[kind][number, k]) == stays

    check_each(itertools.product([0.05, 0.3, 0.7, 1.0], [DARTS, S1, S3, NASBench201]), lambda row: check(*row))


def test_columns_past_a_short_edge_stay_out() -> None:
    """S1 with an edge of one operation among those of two."""
    from robustnas.spaces import darts_like

    space = darts_like("Ragged", [("skip_connect", "sep_conv_3x3", "noise")[: 1 + k % 3] for k in range(14)])
    kept = default_diagnostics(space)
    for threshold in (0.0, 0.4, 1.0):
        found = at(threshold).prune(space, random_shares(space, kept), kept, context())
        for kind in kept:
            assert not (found[kind] & ~kept[kind]).any()
            assert found[kind].any(dim=-1).all()
            assert found[kind][0].tolist() == [True, False, False]


def test_asking_twice_changes_nothing() -> None:
    """With the same shares; and what it was given is left alone."""
    kept = default_diagnostics(DARTS)
    before = {kind: held.clone() for kind, held in kept.items()}
    shares = random_shares(DARTS, kept)
    once = at(0.2).prune(DARTS, shares, kept, context())
    twice = at(0.2).prune(DARTS, shares, once, context())
    assert all(torch.equal(once[kind], twice[kind]) for kind in once)
    assert all(torch.equal(kept[kind], before[kind]) for kind in kept)
    assert not all(torch.equal(once[kind], kept[kind]) for kind in kept)


def test_the_threshold_grows_linearly_to_its_end() -> None:
    assert [ShareThreshold(0.0, 0.5).threshold(context(e, 5)) for e in range(5)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5]
    )
    later = ShareThreshold(0.2, 0.8, start=6)
    assert [later.threshold(context(e, 10)) for e in range(6, 10)] == pytest.approx([0.35, 0.5, 0.65, 0.8])
    assert later.threshold(context(10, 10)) == pytest.approx(0.8)  # validation after the search counts one more


def test_nothing_leaves_before_the_start() -> None:
    pruning, kept = ShareThreshold(1.0, 1.0, start=3), default_diagnostics(NASBench201)
    counts = [
        int(pruning.prune(NASBench201, random_shares(NASBench201, kept), kept, context(e, 5))["cell"].sum())
        for e in range(5)
    ]
    assert counts == [30, 30, 30, 6, 6]


def test_options_out_of_range_are_refused() -> None:
    def check(options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            ShareThreshold(**options)

    check_each(
        [
            ({"threshold_start": -0.1}, "Expected `threshold_start` to be between 0 and 1, but got -0.1."),
            ({"threshold_end": 1.1}, "Expected `threshold_end` to be between 0 and 1, but got 1.1."),
            ({"threshold_end": float("nan")}, "Expected `threshold_end` to be between 0 and 1, but got nan."),
            ({"start": -1}, "Expected `start` to be zero or more, but got -1."),
        ],
        lambda row: check(*row),
    )
