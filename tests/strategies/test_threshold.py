"""Genotypes by a threshold are those of the original, and spaces that cannot hold them are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from golden import golden
from torch import Tensor

from robustnas.spaces import DARTS, Choice, DARTSAnyEdges, DARTSFewerEdges, NASBench201, SearchSpace, strongest
from robustnas.strategies import Sigmoid, Threshold
from robustnas.training.search import SearchModule

KINDS = ("normal", "reduce")
FORMS: dict[Any, SearchSpace] = {"sparse": DARTSFewerEdges, "edge": DARTSAnyEdges}


@pytest.mark.parametrize("form", FORMS)
def test_they_are_those_of_the_original(form: Any) -> None:
    arrays, _ = golden("fairdarts")
    space, sizes = FORMS[form], []
    for alphas, listing in zip(arrays["alpha/genotype"], arrays["out/genotypes"], strict=True):
        shares = dict(zip(KINDS, Sigmoid().shares(alphas), strict=True))
        found = Threshold(form=form).genotype(space, shares).validate(space)
        for kind, entries in listing[f"threshold_{form}"].items():
            expected = [Choice(source, node, name) for name, node, source in entries]
            if form == "sparse":  # the strongest edge of a node first; the other form lists its edges by source
                assert list(found.cells[kind]) == expected
            assert sorted(found.cells[kind]) == sorted(expected)
            sizes.append(len(entries))
    assert min(sizes) < max(sizes)


def test_without_a_threshold_it_is_the_strongest() -> None:
    shares = {kind: torch.rand(cell.shape) for kind, cell in DARTSFewerEdges.cells.items()}
    found = Threshold(1e-9).genotype(DARTSFewerEdges, shares)
    assert found.cells == strongest(DARTSFewerEdges, {kind: rows.tolist() for kind, rows in shares.items()}).cells


def rows(space: SearchSpace, *above: tuple[int, int, float]) -> dict[str, Tensor]:
    shares = {kind: torch.full(cell.shape, 0.5) for kind, cell in space.cells.items()}
    for row, column, value in above:
        shares["normal"][row, column] = value
    return shares


def test_a_node_may_keep_none_one_or_two() -> None:
    shares = rows(DARTSFewerEdges, (2, 3, 0.9), (5, 0, 0.86), (6, 1, 0.99), (7, 2, 0.95), (7, 3, 0.94))
    found = Threshold().genotype(DARTSFewerEdges, shares)
    kept = [Choice(0, 3, "sep_conv_3x3"), Choice(1, 4, "avg_pool_3x3"), Choice(2, 4, "skip_connect")]
    assert list(found.cells["normal"]) == kept
    assert found.cells["reduce"] == ()


def test_an_edge_may_keep_two_operations() -> None:
    shares = rows(DARTSAnyEdges, (0, 3, 0.9), (0, 1, 0.95), (0, 0, 0.86), (8, 2, 0.85))
    found = Threshold(form="edge").genotype(DARTSAnyEdges, shares)
    assert set(found.cells["normal"]) == {
        Choice(0, 2, "sep_conv_3x3"), Choice(0, 2, "avg_pool_3x3"), Choice(3, 4, "skip_connect"),
    }  # fmt: skip
    single = Threshold(form="sparse").genotype(DARTSAnyEdges, shares)
    assert set(single.cells["normal"]) == {Choice(0, 2, "avg_pool_3x3"), Choice(3, 4, "skip_connect")}


def test_what_cannot_be_found_is_refused_before_a_search() -> None:
    sentences = {
        "Expected `threshold` to be between 0 and 1, but got 1.0.": lambda: Threshold(1.0),
        "Expected `threshold` to be between 0 and 1, but got 0.0.": lambda: Threshold(0.0),
        "Expected `form` to be 'sparse' or 'edge', but got 'dense'.": lambda: Threshold(0.85, "dense"),  # type: ignore[arg-type]
        "Expected a space in which nodes may keep fewer edges, such as DARTSFewerEdges, with the selection "
        "`Threshold`, which may keep none, but got NASBench201, whose cell 'cell' must keep them.": lambda: (
            SearchModule(NASBench201, channels=2, cells=1, selection=Threshold())
        ),
        "with the selection `Threshold`, which may keep none, but got DARTS, whose": lambda: Threshold().genotype(
            DARTS, {}
        ),
        "such as DARTSAnyEdges, with the form 'edge' of `Threshold`, but got DARTSFewerEdges, whose cell 'normal' "
        "keeps 2 at most.": lambda: SearchModule(
            DARTSFewerEdges, channels=2, layers=3, selection=Threshold(form="edge")
        ),
    }
    for sentence, call in sentences.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
