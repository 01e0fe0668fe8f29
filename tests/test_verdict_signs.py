"""Every sign of the verdict is seen on the far side of its threshold, and not on the near side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from tables import check_each
from verdicts import EPOCHS, constant, genotype, search, signs, skips

from robustnas.analysis import History
from robustnas.analysis.measures import measures
from robustnas.analysis.registry import thresholds
from robustnas.spaces import DARTS, S1, Choice, Genotype

Series = Mapping[str, Mapping[int, float]]


def flat_then(level: float) -> dict[int, float]:
    """Curvature every second epoch: 1, then another level from epoch 12 on."""
    return {epoch: 1.0 if epoch < 12 else level for epoch in range(0, EPOCHS, 2)}


def gap(lost: float) -> Series:
    """A supernet at 90 % of ten classes, of which rounding loses a share of what is above chance."""
    return {"gap/supernet_accuracy": constant(0.9), "gap/discrete_accuracy": constant(0.9 - 0.8 * lost)}


# Sign: series on the far side, series on the near side.
FAR_AND_NEAR: dict[str, tuple[Series, Series]] = {
    "curvature_rise": ({"curvature/max": flat_then(1.51)}, {"curvature/max": flat_then(1.29)}),
    "overfitting": (
        {"train/top1": constant(0.90), "val/top1": constant(0.84)},
        {"train/top1": constant(0.90), "val/top1": constant(0.86)},
    ),
    "skip_mass": ({"shares/skip_connect_normal": constant(0.35)}, {"shares/skip_connect_normal": constant(0.34)}),
    "discrete_at_chance": (
        {**gap(0.98), "alpha/entropy": constant(0.89)},
        {**gap(0.98), "alpha/entropy": constant(0.91)},
    ),
    "gap": (gap(0.51), gap(0.49)),
    "gap_rise": (
        {"gap/accuracy": {epoch: 0.012 * epoch for epoch in range(EPOCHS)}},
        {"gap/accuracy": {epoch: 0.009 * epoch for epoch in range(EPOCHS)}},
    ),
    "undecided": ({"alpha/entropy": constant(0.991)}, {"alpha/entropy": constant(0.989)}),
    "did_not_learn": ({"val/top1": constant(0.2)}, {"val/top1": constant(0.201)}),
    "within_noise": ({"alpha/margin_noise": constant(0.99)}, {"alpha/margin_noise": constant(1.01)}),
    "saturated": ({"alpha/saturated": constant(0.6, 5, 2)}, {"alpha/saturated": constant(0.6, start=10)}),
    "alignment": (
        {"gradient/alignment_normal": constant(-0.01), "gradient/alignment_reduce": constant(0.5)},
        {"gradient/alignment_normal": constant(0.01)},
    ),
    "match": ({"gradient/match": constant(0.0)}, {"gradient/match": constant(0.01)}),
    "ranking": ({"ranking/tau": {19: 0.19}}, {"ranking/tau": {19: 0.2}}),
    "none_mass": ({"shares/none_normal": constant(0.51)}, {"shares/none_normal": constant(0.49)}),
}


def test_a_measure_is_a_sign_beyond_its_threshold() -> None:
    def check(sign: str) -> None:
        far, near = FAR_AND_NEAR[sign]
        weight = next(row.weight for row in thresholds() if row.name == sign)
        assert signs(search(far, classes=10)).get(sign) == weight
        assert sign not in signs(search(near, classes=10))

    check_each(FAR_AND_NEAR, check)


def test_a_search_without_a_sign_shows_none() -> None:
    assert signs(search(classes=10)) == {}


def test_every_sign_has_a_test() -> None:
    by_genotype = {name for name, *_ in GENOTYPES}
    tested = set(FAR_AND_NEAR) | by_genotype | {"never_changed", "unsettled", "frozen"}
    assert tested == {row.name for row in thresholds()}


def ending(last: Genotype, epochs: int, space: str = "DARTS") -> History:
    """A running search whose last epochs have another genotype."""
    start = {epoch: genotype(space=space) for epoch in range(EPOCHS - epochs)}
    return search(None, {**start, **dict.fromkeys(range(EPOCHS - epochs, EPOCHS), last)}, space, running=True)


NOISE = {count: genotype(*["noise"] * count, space="S4") for count in (6, 7)}
POOLS = {count: genotype(*["max_pool_3x3"] * count) for count in (4, 5)}
FREE = ("none", "skip_connect", "avg_pool_3x3", "none", "none")
SKIP_CONV = {
    count: genotype(*["skip_connect"] * count, *["nor_conv_3x3"] * (6 - count), space="NASBench201SkipConv")
    for count in (4, 5)
}
NB = {count: genotype(*FREE[:count], space="NASBench201") for count in (4, 5)}


def cell(*names: str) -> Genotype:
    """A cell of NAS-Bench-201 with operations on 0-1, 0-2, 1-2, 0-3, 1-3 and 2-3."""
    return genotype(*names, space="NASBench201")


DEAD = cell(*["nor_conv_3x3"] * 3, *["none"] * 3)
CUT = cell("none", "nor_conv_3x3", "none", *["none"] * 2, "nor_conv_3x3")
BRANCH = cell("nor_conv_3x3", "none", "none", "skip_connect", "none", "none")  # 0-1 leads nowhere

# Sign, genotype, epochs that show it, whether that is enough.
GENOTYPES: list[tuple[str, Genotype, int, bool]] = [
    ("skip_domination", skips(5), 3, True),
    ("skip_domination", skips(5), 2, False),
    ("skip_domination", skips(4), 3, False),
    ("skip_domination", skips(6, "S2"), 3, False),  # a random cell has four
    ("skip_domination", skips(7, "S2"), 3, True),
    ("skip_domination", SKIP_CONV[4], 3, False),  # a random cell has three
    ("skip_domination", SKIP_CONV[5], 3, True),
    ("skip_domination", skips(4, "NASBench201"), 3, True),
    ("skip_domination", skips(3, "NASBench201"), 3, False),
    ("mostly_parameter_free", skips(5), 3, True),
    ("mostly_parameter_free", POOLS[5], 3, True),
    ("mostly_parameter_free", POOLS[5], 2, False),
    ("mostly_parameter_free", POOLS[4], 3, False),
    ("mostly_parameter_free", NOISE[7], 3, True),
    ("mostly_parameter_free", NOISE[6], 3, False),
    ("mostly_parameter_free", NB[5], 3, True),
    ("mostly_parameter_free", NB[4], 3, False),
    ("disconnected", DEAD, 3, True),
    ("disconnected", DEAD, 2, False),
    ("disconnected", CUT, 3, False),
    ("disconnected", BRANCH, 3, False),
    ("no_convolution", DEAD, 3, True),
    ("no_convolution", BRANCH, 3, True),
    ("no_convolution", BRANCH, 2, False),
    ("no_convolution", CUT, 3, False),
    ("no_convolution", genotype(*["max_pool_3x3"] * 8), 3, True),
    ("no_convolution", genotype(*["max_pool_3x3"] * 7), 3, False),
    ("no_convolution", genotype(reduce=("max_pool_3x3",) * 8), 3, False),
    ("many_skips", skips(3), 3, True),
    ("many_skips", skips(3), 2, False),
    ("many_skips", skips(2), 3, False),
    ("many_skips", skips(4, "S2"), 3, False),
    ("many_skips", skips(2, "NASBench201"), 3, True),
    ("skip_rise", skips(2), 6, True),
    ("skip_rise", skips(2), 4, False),
    ("skip_rise", skips(1), 6, False),
]


def test_a_genotype_is_a_sign_in_its_space() -> None:
    def check(row: tuple[str, Genotype, int, bool]) -> None:
        sign, last, epochs, enough = row
        assert (sign in signs(ending(last, epochs, last.space))) == enough

    check_each(GENOTYPES, check)


def test_an_edge_that_offers_nothing_else_is_no_sign() -> None:
    edges = {node: S1.cells["normal"].edges_into(node) for node in S1.cells["normal"].nodes}
    kept = {2: (0, 1), 3: (0, 2), 4: (0, 1), 5: (0, 1)}  # 0-4 and 1-5 have no operation with parameters
    names = dict.fromkeys([(0, 4), (1, 5)], "max_pool_3x3") | dict.fromkeys([(0, 2), (1, 2)], "skip_connect")

    def choose(source: int, node: int) -> Choice:
        offered = next(edge.operations for _, edge in edges[node] if edge.source == source)
        return Choice(source, node, names.get((source, node), offered[-1]))

    normal = tuple(choose(source, node) for node, sources in kept.items() for source in sources)
    reduce = tuple(
        Choice(edge.source, edge.node, edge.operations[-1])
        for node in S1.cells["reduce"].nodes
        for _, edge in S1.cells["reduce"].edges_into(node)[:2]
    )
    found = Genotype("S1", {"normal": normal, "reduce": reduce}).validate(S1)
    assert sum(choice.operation in {"skip_connect", "max_pool_3x3"} for choice in normal) == 4
    history = History(S1, {}, dict.fromkeys(range(EPOCHS), found), planned=EPOCHS)
    assert set(measures(history)["genotype/avoidable"].values()) == {2 / 6}


def test_skips_of_the_reduction_cell_are_no_sign() -> None:
    assert set(signs(ending(genotype(reduce=("skip_connect",) * 8), 8))) == set()


def test_the_first_epochs_are_not_judged() -> None:
    early = {epoch: skips(8) for epoch in range(4)}
    running = search(None, early, running=True)
    assert "skip_domination" not in signs(History(DARTS, {}, early, planned=21))
    assert signs(running)["skip_domination"] == "decides"


@pytest.mark.parametrize(("count", "enough"), [(11, True), (10, False)])
def test_a_genotype_that_never_changed(count: int, enough: bool) -> None:
    found = signs(search(None, {epoch: genotype() for epoch in range(count)}, running=True))
    assert ("never_changed" in found) == enough


def test_a_genotype_that_came_back_has_changed() -> None:
    back = {epoch: skips(1) if epoch == 2 else genotype() for epoch in range(EPOCHS)}
    assert "never_changed" not in signs(search(None, back))


@pytest.mark.parametrize(("changes", "enough"), [(4, True), (3, False)])
def test_a_genotype_that_never_settles(changes: int, enough: bool) -> None:
    other = genotype(*["sep_conv_5x5"] * changes)  # of 16 choices
    found = signs(search(None, {epoch: other if epoch % 2 else genotype() for epoch in range(EPOCHS)}))
    assert ("unsettled" in found) == enough


def alpha(epoch: int, step: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {kind: rng.normal(size=space.shape) + step * epoch for kind, space in DARTS.cells.items()}


@pytest.mark.parametrize(("step", "enough"), [(0.0, True), (5e-7, True), (2e-6, False)])
def test_an_alpha_that_does_not_move(step: float, enough: bool) -> None:
    alphas = {epoch: alpha(epoch, step if epoch > 10 else 0.1) for epoch in range(EPOCHS)}
    found = signs(History(DARTS, alphas, planned=EPOCHS))
    assert ("frozen" in found) == enough


def test_an_alpha_that_stopped_for_four_epochs_is_not_frozen_yet() -> None:
    alphas = {epoch: alpha(min(epoch, 15), 0.1) for epoch in range(EPOCHS)}
    assert "frozen" not in signs(History(DARTS, alphas, planned=EPOCHS))
    assert "frozen" in signs(History(DARTS, {**alphas, 20: alphas[19]}, planned=21))


LATE: list[Callable[[], Series]] = [
    lambda: {"ranking/tau": constant(0.0)},
    lambda: gap(0.6),
]


@pytest.mark.parametrize("series", LATE)
def test_what_is_natural_early_is_no_sign_early(series: Callable[[], Series]) -> None:
    history = search(series(), classes=10)
    assert set(signs(history.until(14))) == set()
    assert len(signs(history.until(16))) == 1
