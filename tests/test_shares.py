"""Numbers that follow from shares and genotypes, against sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robustnas.analysis.architecture_statistics import (
    binary_entropy,
    changed,
    depth,
    distance,
    edge_margin,
    effective,
    entropy,
    margin,
    of_genotype,
    of_shares,
    parameter_free,
    shares_of,
    sigmoid,
    softmax,
    width,
)
from robustnas.spaces import (
    DARTS,
    S1,
    S3,
    CellSpace,
    Choice,
    DARTSSingleCell,
    DARTSWithoutSkip,
    Edge,
    Genotype,
    NASBench201,
    SearchSpace,
)

SPACES = [DARTS, S1, S3, NASBench201, DARTSSingleCell, DARTSWithoutSkip]


def drawn(space: SearchSpace) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return softmax(space, {kind: 2 * rng.normal(size=cell.shape) for kind, cell in space.cells.items()})


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_softmax_gives_each_edge_its_candidates_alone(space: SearchSpace) -> None:
    for kind, shares in drawn(space).items():
        cell = space.cells[kind]
        assert np.allclose(shares.sum(axis=1), 1)
        for edge, row in zip(cell.edges, shares, strict=True):
            assert (row[: len(edge.operations)] > 0).all()
            assert (row[len(edge.operations) :] == 0).all()
    huge = softmax(space, {kind: np.full(cell.shape, 1e4) for kind, cell in space.cells.items()})
    assert all(np.isfinite(shares).all() for shares in huge.values())


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_entropy_and_margins_are_those_written_out(space: SearchSpace) -> None:
    for kind, shares in drawn(space).items():
        cell = space.cells[kind]
        for e, edge in enumerate(cell.edges):
            row = [float(s) for s in shares[e, : len(edge.operations)]]
            nats = -sum(s * math.log(s) for s in row)
            assert entropy(cell, shares)[e] == pytest.approx(nats / math.log(len(row)))
            assert effective(shares)[e] == pytest.approx(math.exp(nats))
            best = max(row)
            rest = [s for k, s in enumerate(row) if k != row.index(best)]
            assert margin(cell, shares)[e] == pytest.approx(best - max(rest))


def test_uniform_and_decided_edges_are_the_ends_of_the_scale() -> None:
    cell = DARTS.cells["normal"]
    uniform, decided = np.full(cell.shape, 1 / 8), np.eye(8)[np.zeros(14, dtype=int)]
    assert np.allclose(entropy(cell, uniform), 1)
    assert np.allclose(effective(uniform), 8)
    assert np.allclose(entropy(cell, decided), 0)
    assert np.allclose(effective(decided), 1)
    assert np.allclose(margin(cell, uniform), 0)
    assert np.allclose(margin(cell, decided), 1)
    values = of_shares(DARTS, {"normal": uniform, "reduce": decided})
    assert values["alpha/entropy"] == pytest.approx(0.5)
    assert values["alpha/saturated"] == pytest.approx(0.5)
    assert (values["alpha/entropy_normal"], values["alpha/entropy_reduce"]) == pytest.approx((1, 0))
    assert values["shares/parameter_free_normal"] == pytest.approx(4 / 8)
    assert values["shares/none_reduce"] == pytest.approx(1)
    assert values["shares/none"] == pytest.approx((1 + 1 / 8) / 2)


def test_an_edge_with_one_candidate_is_decided() -> None:
    cell = CellSpace(1, (Edge(0, 1, ("skip_connect",)), Edge(0, 2, ("none", "nor_conv_3x3"))), (2,))
    shares = np.array([[1.0, 0.0], [0.25, 0.75]])
    assert entropy(cell, shares)[0] == 0
    assert margin(cell, shares).tolist() == [1, 0.5]
    assert parameter_free(cell, shares).tolist() == [1, 0.25]


def test_the_margin_of_edges_compares_what_may_be_selected() -> None:
    cell = DARTS.cells["normal"]
    shares = np.zeros(cell.shape)
    shares[:, 0] = 0.5  # none, which is never selected
    for row, strength in zip([row for row, _ in cell.edges_into(3)], (0.1, 0.4, 0.3), strict=True):
        shares[row, 4] = strength
    assert edge_margin(cell, shares)[0] == pytest.approx(0.3 - 0.1)
    assert len(edge_margin(cell, shares)) == 3  # the first node has two edges and keeps both
    assert len(edge_margin(NASBench201.cells["cell"], np.ones((6, 5)) / 5)) == 0
    assert "alpha/edge_margin" not in of_shares(NASBench201, {"cell": np.ones((6, 5)) / 5})


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_shares_of_operations_are_means_over_the_edges_that_have_them(space: SearchSpace) -> None:
    shares = drawn(space)
    values = of_shares(space, shares)
    for name in space.operations:
        held = [
            float(shares[kind][row, edge.operations.index(name)])
            for kind, cell in space.cells.items()
            for row, edge in enumerate(cell.edges)
            if name in edge.operations
        ]
        assert values[f"shares/{name}"] == pytest.approx(sum(held) / len(held))
    free = sum(values[f"shares/parameter_free_{kind}"] for kind in space.cells) / len(space.cells)
    assert values["shares/parameter_free"] == pytest.approx(free)  # kinds have as many edges


def cell(text: str) -> tuple[Choice, ...]:
    return tuple(Choice.from_text(part) for part in text.split(", "))


DEEP = "0-2 skip_connect, 1-2 sep_conv_3x3, 0-3 sep_conv_3x3, 2-3 sep_conv_3x3, 1-4 skip_connect, 3-4 sep_conv_3x3, "
DEEP += "3-5 max_pool_3x3, 4-5 dil_conv_3x3"
WIDE = ", ".join(f"{source}-{node} skip_connect" for node in (2, 3, 4, 5) for source in (0, 1))


def test_depth_and_width_tell_a_deep_cell_from_a_wide_one() -> None:
    genotype = Genotype("DARTS", {"normal": cell(DEEP), "reduce": cell(WIDE)})
    space = DARTS.cells["normal"]
    assert [depth(space, genotype, kind) for kind in ("normal", "reduce")] == [4, 1]
    assert [width(space, genotype, kind) for kind in ("normal", "reduce")] == [0.75, 1]
    values = of_genotype(DARTS, genotype)
    assert (values["genotype/skips_normal"], values["genotype/skips_reduce"]) == (2, 8)
    assert (values["genotype/parameter_free_normal"], values["genotype/parameter_free_reduce"]) == (3 / 8, 1)
    assert "genotype/changed" not in values


def test_none_carries_nothing() -> None:
    text = "|none~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    genotype = Genotype.from_nasbench201(text)
    assert depth(NASBench201.cells["cell"], genotype, "cell") == 2
    dead = Genotype.from_nasbench201("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert depth(NASBench201.cells["cell"], dead, "cell") == 0


def test_churn_is_the_share_of_new_choices() -> None:
    first = Genotype("DARTS", {"normal": cell(DEEP), "reduce": cell(WIDE)})
    second = Genotype("DARTS", {"normal": cell(DEEP.replace("dil_conv_3x3", "skip_connect")), "reduce": cell(WIDE)})
    assert changed(first, first) == 0
    assert changed(first, second) == 1 / 16
    assert of_genotype(DARTS, second, first)["genotype/changed"] == 1 / 16


def test_rows_that_sum_to_one_are_shares() -> None:
    shares = {kind: np.full(cell.shape, 1 / cell.shape[1]) for kind, cell in DARTS.cells.items()}
    shares["normal"][0] = np.eye(8)[3]
    assert shares_of(DARTS, shares)["normal"][0, 3] == 1
    raw = {kind: values * 1.1 for kind, values in shares.items()}
    assert shares_of(DARTS, raw)["normal"][0, 3] < 0.31


def test_independent_shares_are_sigmoids_with_measures_of_their_own() -> None:
    edges = (Edge(0, 1, ("skip_connect", "nor_conv_3x3", "avg_pool_3x3")), Edge(0, 2, ("nor_conv_3x3",)))
    space = SearchSpace("Ragged", {"cell": CellSpace(1, edges, (2,))}, "nasbench201")
    cell, alpha = space.cells["cell"], np.array([[0.3, -2.0, 1.0], [4.0, 9.0, 9.0]])
    shares = shares_of(space, {"cell": alpha}, independent=True)["cell"]
    assert np.array_equal(shares, sigmoid(space, {"cell": alpha})["cell"])
    rows = [[1 / (1 + math.exp(-a)) for a in row] for row in ([0.3, -2.0, 1.0], [4.0])]
    assert shares.tolist() == [pytest.approx(rows[0]), pytest.approx([*rows[1], 0, 0])]
    bits = [[-s * math.log2(s) - (1 - s) * math.log2(1 - s) for s in row] for row in rows]
    entropies = [sum(row) / len(row) for row in bits]
    distances = [sum(abs(2 * s - 1) for s in row) / len(row) for row in rows]
    assert binary_entropy(cell, shares) == pytest.approx(entropies)
    assert distance(cell, shares) == pytest.approx(distances)
    values = of_shares(space, {"cell": shares}, independent=True)
    assert values["alpha/entropy"] == pytest.approx(sum(entropies) / 2)
    assert values["alpha/margin"] == pytest.approx(sum(distances) / 2)
    assert values["alpha/effective"] == pytest.approx((sum(rows[0]) + sum(rows[1])) / 2)
    assert values["shares/parameter_free"] == pytest.approx((rows[0][0] + rows[0][2]) / sum(rows[0]) / 2)
    assert values["shares/nor_conv_3x3"] == pytest.approx((rows[0][1] + rows[1][0]) / 2)
    assert values["alpha/saturated"] == 0.5


def test_at_one_half_nothing_is_decided_and_at_the_ends_all_is() -> None:
    for value, entropy_of_all, margin_of_all in ((0.0, 1.0, 0.0), (60.0, 0.0, 1.0), (-60.0, 0.0, 1.0)):
        alphas = {kind: np.full(cell.shape, value) for kind, cell in DARTS.cells.items()}
        values = of_shares(DARTS, shares_of(DARTS, alphas, independent=True), independent=True)
        assert values["alpha/entropy"] == pytest.approx(entropy_of_all, abs=1e-12)
        assert values["alpha/margin"] == pytest.approx(margin_of_all, abs=1e-12)
        assert 0 <= values["shares/parameter_free"] <= 1
    masked = {kind: np.full(cell.shape, -np.inf) for kind, cell in DARTS.cells.items()}
    assert all((share == 0).all() for share in sigmoid(DARTS, masked).values())
