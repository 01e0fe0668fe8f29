"""Selection by perturbation decides as the original code does, score by score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import golden, part
from torch import Tensor

from robustnas.networks import Mixture, Supernet
from robustnas.spaces import DARTS, DARTSWithoutNone, Genotype, NASBench201
from robustnas.strategies.decisions import Decisions, Evaluate, Score
from robustnas.strategies.largest_drop import LargestDrop

CRITERIA = {"acc": "accuracy", "loss": "loss"}


def evaluator(arrays: Mapping[str, Any], supernet: Supernet) -> Evaluate:
    supernet.load_edgewise_state_dict(part(arrays, "w/"))

    def evaluate(weights: Mapping[str, Tensor]) -> Score:
        with torch.no_grad():
            logits = supernet(arrays["x_val"], {kind: Mixture(weight) for kind, weight in weights.items()})
        accuracy = 100 * (logits.argmax(dim=1) == arrays["y_val"]).double().mean()
        return Score(float(accuracy), float(F.cross_entropy(logits, arrays["y_val"])))

    return evaluate


def close(scores: list[Score], arrays: Mapping[str, Any], where: str, index: Any) -> None:
    losses = torch.tensor([score.loss for score in scores], dtype=torch.float64)
    accuracies = torch.tensor([score.accuracy for score in scores], dtype=torch.float64)
    torch.testing.assert_close(losses, arrays[where.format("loss")][index], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(accuracies, arrays[where.format("acc")][index], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("short", ["loss", "acc"])
def test_darts_space_is_projected_as_the_original_does(short: str) -> None:
    arrays, _ = golden("darts_pt")
    evaluate = evaluator(arrays, Supernet(DARTSWithoutNone, channels=4, layers=3).double())
    shares = {kind: arrays[f"alpha/{kind}"].softmax(dim=-1) for kind in ("normal", "reduce")}
    rule, decisions = LargestDrop(CRITERIA[short]), Decisions()  # type: ignore[arg-type]
    sequence = f"out/sequence_{short}"
    for i in range(14):
        for kind in ("normal", "reduce"):
            row = int(arrays[f"{sequence}/order/{kind}"][i])
            cell = DARTSWithoutNone.cells[kind]
            column, scores = rule.operation(cell, kind, row, decisions.apply(shares), evaluate)
            close(list(scores.values()), arrays, f"{sequence}/{{}}/{kind}", i)
            assert column == int(arrays[f"{sequence}/op/{kind}"][i])
            decisions = decisions.with_operation(kind, row, column)
    for expected in arrays[f"{sequence}/topology"]:
        kind = expected["cell"]
        cell, node = DARTSWithoutNone.cells[kind], expected["node"]
        rows = {row for row, _ in cell.edges_into(node)}
        dropped, taken = rule.edges(cell, kind, node, decisions.apply(shares), evaluate)
        assert rows - {*dropped} == set(expected["kept_edges"])
        original = expected["evaluations_acc_loss"]
        assert [score.loss for scores in taken for score in scores.values()] == pytest.approx(
            [loss for _, loss in original], rel=1e-9
        )
        decisions = decisions.with_node(kind, node, frozenset(dropped))
    listing = arrays[f"{sequence}/genotype"]
    listing = json.loads(listing) if isinstance(listing, str) else listing
    genotype = Genotype.from_quark0(listing["normal"], listing["reduce"], "DARTSWithoutNone")
    assert decisions.genotype(DARTSWithoutNone).validate(DARTSWithoutNone) == genotype


@pytest.mark.parametrize("short", CRITERIA)
def test_nas_bench_201_is_projected_as_the_original_does(short: str) -> None:
    arrays, _ = golden("darts_pt_nb201")
    evaluate = evaluator(arrays, Supernet(NASBench201, channels=4, cells=1).double())
    shares, cell = {"cell": arrays["alpha/cell"].softmax(dim=-1)}, NASBench201.cells["cell"]
    rule, decisions = LargestDrop(CRITERIA[short]), Decisions()  # type: ignore[arg-type]
    for row in range(6):
        column, scores = rule.operation(cell, "cell", row, shares, evaluate)
        close(list(scores.values()), arrays, "out/op_mask/{}", row)
        assert column == int(arrays[f"out/op_mask/best_by_{short}"][row])
    for i, row in enumerate(arrays[f"out/sequence_{short}/order"].tolist()):
        column, scores = rule.operation(cell, "cell", row, decisions.apply(shares), evaluate)
        close(list(scores.values()), arrays, f"out/sequence_{short}/{{}}", i)
        decisions = decisions.with_operation("cell", row, column)
    assert rule.edges(cell, "cell", 3, shares, evaluate) == ([], [])
    assert decisions.genotype(NASBench201).to_nasbench201() == str(arrays[f"out/sequence_{short}/arch_string"])


def test_ties_keep_the_first_operation_and_drop_the_last_edge() -> None:
    cell, weights = DARTS.cells["normal"], {"normal": torch.ones(14, 8), "reduce": torch.ones(14, 8)}
    seen = []

    def even(given: Mapping[str, Tensor]) -> Score:
        seen.append(given["normal"])
        return Score(50.0, 1.0)

    column, scores = LargestDrop().operation(cell, "normal", 4, weights, even)
    assert column == 1  # the first that may be selected
    assert list(scores) == list(range(1, 8))
    assert all(float(weight.sum()) == 14 * 8 - 1 for weight in seen)
    assert LargestDrop().edges(cell, "normal", 5, weights, even)[0] == [13, 12, 11]
    assert torch.equal(weights["normal"], torch.ones(14, 8))


def test_dropped_edges_come_back_or_stay_away_while_the_next_is_chosen() -> None:
    cell, weights = DARTS.cells["normal"], {"normal": torch.ones(14, 8)}
    for restore, fewest in ((True, 13), (False, 11)):
        seen = []

        def evaluate(given: Mapping[str, Tensor], seen: list[int] = seen) -> Score:
            seen.append(int((given["normal"].sum(dim=1) > 0).sum()))
            return Score(50.0, 1.0)

        LargestDrop(restore_dropped=restore).edges(cell, "normal", 5, weights, evaluate)
        assert len(seen) == 5 + 4 + 3
        assert min(seen) == fewest


def test_undecided_rows_keep_their_graph() -> None:
    weights = torch.rand(6, 5, requires_grad=True)
    decisions = Decisions().with_operation("cell", 2, 3).with_node("cell", 3, frozenset({4}))
    applied = decisions.apply({"cell": weights})["cell"]
    applied.square().sum().backward()
    assert applied[2].tolist() == [0, 0, 0, 1, 0]
    assert applied[4].tolist() == [0] * 5
    assert weights.grad is not None
    assert (weights.grad.abs().sum(dim=1) > 0).tolist() == [True, True, False, True, False, True]
