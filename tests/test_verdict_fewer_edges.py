"""Verdicts on searches whose shares stand each by itself and whose cells may keep fewer edges."""

from __future__ import annotations

import numpy as np
import pytest

from robustnas.analysis.history import History
from robustnas.analysis.judging import judge
from robustnas.analysis.measures import by_chance, degeneracy, measures
from robustnas.spaces import Choice, DARTSAllEdges, DARTSFewerEdges, Genotype, strongest

EPOCHS = 20
SKIP, SEP = "skip_connect", "sep_conv_3x3"


def genotype(*normal: tuple[int, int, str]) -> Genotype:
    cells = {"normal": normal, "reduce": ((0, 2, SEP), (1, 3, SEP))}
    return Genotype("DARTSFewerEdges", {kind: tuple(Choice(*one) for one in cell) for kind, cell in cells.items()})


SOUND = genotype((0, 2, SEP), (1, 2, SEP), (2, 4, SEP), (0, 5, SKIP))
EMPTY = genotype()
SKIPS = genotype((0, 2, SKIP), (1, 2, SKIP), (2, 4, SEP))


def history(found: Genotype, alpha: float = 4.0, finished: bool = True, noise: float = 0.0) -> History:
    """A search whose kept operations go to α and whose others go to minus α, in equal steps."""
    rng = np.random.default_rng(0)
    ends = {kind: np.full(cell.shape, -alpha) for kind, cell in DARTSFewerEdges.cells.items()}
    for kind, cell in DARTSFewerEdges.cells.items():
        for choice in found.cells[kind]:
            row = cell.row(choice.source, choice.node)
            ends[kind][row, cell.edges[row].operations.index(choice.operation)] = alpha
    alphas = {
        epoch: {kind: end * (epoch + 1) / EPOCHS + noise * rng.normal(size=end.shape) for kind, end in ends.items()}
        for epoch in range(EPOCHS)
    }
    genotypes, final = dict.fromkeys(range(EPOCHS), found), found if finished else None
    return History(DARTSFewerEdges, alphas, genotypes, planned=EPOCHS, independent=True, final=final)


def names(of: History) -> set[str]:
    return {evidence.threshold.name for evidence in judge(of).evidence}


def test_shares_are_sigmoids() -> None:
    share = history(SOUND).shares(EPOCHS - 1)["normal"]
    assert share.max() == pytest.approx(1 / (1 + np.exp(-4)))
    assert share.min() == pytest.approx(1 / (1 + np.exp(4)))
    assert not np.allclose(share.sum(axis=1), 1)


def test_a_sparse_cell_that_is_decided_is_neither_undecided_nor_disconnected() -> None:
    assert judge(history(SOUND)).state != "collapsed"
    assert not names(history(SOUND)) & {"undecided", "disconnected", "skip_domination", "no_convolution"}


def test_skips_are_no_excess_where_every_share_is_one_half() -> None:
    of = history(SOUND, alpha=1e-9)
    assert measures(of)["shares/skip_excess"][0] == pytest.approx(0, abs=1e-6)
    assert "undecided" in names(of)


def test_margins_stand_out_of_their_noise_or_do_not() -> None:
    assert measures(history(SOUND, 0.02, noise=0.3))["alpha/margin_noise"][EPOCHS - 1] < 1
    assert measures(history(SOUND, 4.0, noise=0.01))["alpha/margin_noise"][EPOCHS - 1] > 10


def test_an_empty_cell_is_disconnected() -> None:
    of = history(EMPTY)
    verdict = judge(of)
    assert verdict.state == "collapsed"
    sign = next(e for e in verdict.evidence if e.threshold.name == "disconnected")
    assert sign.shown == "0 of 0"
    assert degeneracy(of, EMPTY)["genotype/live"] == 0
    assert "disconnected" in names(history(EMPTY, finished=False))


def test_shares_of_edges_are_of_those_that_are_there() -> None:
    of = history(SKIPS)
    found = degeneracy(of, SKIPS)
    assert found["genotype/skip_share"] == pytest.approx(2 / 3)
    assert found["genotype/avoidable"] == pytest.approx(2 / 3)
    assert found["genotype/live"] == 1
    sign = next(e for e in judge(of).evidence if e.threshold.name == "skip_domination")
    assert sign.shown == "2 of 3"
    assert by_chance(of)["genotype/skip_share"] == pytest.approx(1 / 7)


def test_numbers_of_empty_genotypes_are_numbers() -> None:
    series = measures(history(EMPTY))
    assert set(series["genotype/parameter_free_normal"].values()) == {0.0}
    assert set(series["genotype/changed"].values()) == {0.0}
    assert set(series["genotype/depth_normal"].values()) == {0.0}


def test_none_on_every_edge_is_disconnected_too() -> None:
    rows = {kind: np.eye(1, 8).repeat(14, axis=0) * 9 for kind in DARTSAllEdges.cells}
    nothing = strongest(DARTSAllEdges, rows)
    of = History(DARTSAllEdges, dict.fromkeys(range(EPOCHS), rows), planned=EPOCHS, final=nothing)
    assert judge(of).state == "collapsed"
    assert "disconnected" in names(of)
