"""The strongest operations and edges are those that the originals select, in their order."""

from __future__ import annotations

import pytest
import torch
from golden import golden, listing
from torch import Tensor

from robustnas.spaces import DARTS, S1, S2, S3, S4, Choice, Genotype, NASBench201, SearchSpace, darts_like
from robustnas.strategies import Softmax, Strongest


def found(space: SearchSpace, alphas: dict[str, Tensor]) -> Genotype:
    strengths = {kind: Softmax().shares(alpha) for kind, alpha in alphas.items()}
    return Strongest().genotype(space, strengths).validate(space)


@pytest.mark.parametrize(("prefix", "suffix", "count"), [("alpha/", "", 50), ("alpha/ties_", "_ties", 3)])
def test_genotypes_of_darts_are_those_of_the_original(prefix: str, suffix: str, count: int) -> None:
    arrays, _ = golden("genotype_darts")
    expected = arrays[f"out/genotypes{suffix}"]
    assert len(expected) == count
    for i, genotype in enumerate(expected):
        alphas = {kind: arrays[f"{prefix}{kind}"][i] for kind in ("normal", "reduce")}
        assert listing(found(DARTS, alphas)) == genotype, i


@pytest.mark.parametrize(("key", "suffix", "count"), [("alpha/cell", "", 50), ("alpha/ties", "_ties", 2)])
def test_genotypes_of_nasbench201_are_those_of_the_original(key: str, suffix: str, count: int) -> None:
    arrays, _ = golden("genotype_nb201")
    expected = arrays[f"out/arch_strings{suffix}"]
    assert len(expected) == count
    for alpha, text in zip(arrays[key], expected, strict=True):
        assert found(NASBench201, {"cell": alpha}).to_nasbench201() == text


@pytest.mark.parametrize("space", [S1, S2, S3, S4], ids=lambda space: space.name)
def test_genotypes_of_the_robust_darts_spaces_are_those_of_the_original(space: SearchSpace) -> None:
    arrays, _ = golden("spaces_robustdarts")
    name = space.name.lower()
    expected = arrays[f"out/genotypes_{name}"]
    assert len(expected) == 20
    for i, genotype in enumerate(expected):
        alphas = {kind: arrays[f"alpha/{name}_{kind}"][i] for kind in ("normal", "reduce")}
        assert listing(found(space, alphas)) == genotype, i


def test_none_is_never_selected_but_takes_its_share() -> None:
    """With α of none far above all others it is still not selected, and an edge that it dominates is a weak one."""
    alpha = torch.zeros(14, 8)
    alpha[:, 4] = 1.0
    alpha[1, 0] = 9.0  # edge 1-2 would be kept with edge 0-2 in any case
    alpha[3, 0] = 9.0  # edge 1-3 loses: 0-3 and 2-3 are kept
    alpha[7, :] = alpha[7, :] - 50  # a shift of a row changes nothing
    genotype = found(DARTS, {"normal": alpha, "reduce": alpha})
    assert genotype.count("none") == {"normal": 0, "reduce": 0}
    assert [(c.source, c.node) for c in genotype.cells["normal"]] == [
        (0, 2), (1, 2), (0, 3), (2, 3), (0, 4), (1, 4), (0, 5), (1, 5),
    ]  # fmt: skip
    assert {choice.operation for choice in genotype.cells["normal"]} == {"sep_conv_3x3"}


def test_none_is_selected_where_the_space_allows_it() -> None:
    alpha = torch.zeros(6, 5)
    alpha[:, 0] = 1.0
    assert found(NASBench201, {"cell": alpha}).count("none") == {"cell": 6}


def test_ties_go_to_the_earlier_operation_and_the_earlier_source() -> None:
    strengths = torch.full((14, 2), 0.5)
    strengths[[4, 13]] = torch.tensor([0.3, 0.7])  # edges 2-3 and 4-5
    genotype = Strongest().genotype(S2, {"normal": strengths, "reduce": strengths})
    skip, conv = "skip_connect", "sep_conv_3x3"
    assert genotype.cells["normal"] == (
        Choice(0, 2, skip), Choice(1, 2, skip), Choice(2, 3, conv), Choice(0, 3, skip),
        Choice(0, 4, skip), Choice(1, 4, skip), Choice(4, 5, conv), Choice(0, 5, skip),
    )  # fmt: skip


def test_columns_past_the_candidates_of_an_edge_are_never_selected() -> None:
    ragged = [("skip_connect",) if row % 2 else ("skip_connect", "sep_conv_3x3", "none") for row in range(14)]
    space = darts_like("Ragged", ragged)
    strengths = torch.tensor([0.1, 0.2, 0.9]).repeat(14, 1)
    genotype = Strongest().genotype(space, {"normal": strengths, "reduce": strengths}).validate(space)
    assert genotype.cells["normal"][:2] == (Choice(0, 2, "sep_conv_3x3"), Choice(1, 2, "skip_connect"))
