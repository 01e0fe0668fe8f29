"""Selection as a phase of training: which decisions fall when, on what they rest, and what they leave."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from phases import OPERATIONS, TINY, Snapshots, briefly, tiny
from pytorch_lightning import Callback, Trainer
from runs import digits, fit, trainer
from tables import check_each
from torch import Tensor
from torch.utils.data import DataLoader

from robustnas.data import Digits
from robustnas.networks import Mixture
from robustnas.spaces import DARTS, NASBench201
from robustnas.spaces.space import SearchSpace
from robustnas.strategies import LargestDrop, Pruning, Strongest
from robustnas.strategies.decisions import Decisions, Score
from robustnas.training.hooks.perturbation_selection import in_words
from robustnas.training.scoring import Scoring
from robustnas.training.search import SearchModule


def test_the_schedule_is_that_of_the_papers_runs() -> None:
    def turns(rule: LargestDrop, space: SearchSpace) -> list[int]:
        found = [epoch for epoch in range(rule.epochs(space)) if rule.turn(space, epoch) is not None]
        assert [rule.turn(space, epoch) for epoch in found] == list(range(len(found)))
        return found

    assert LargestDrop().epochs(DARTS) == 81
    assert turns(LargestDrop(), DARTS) == list(range(0, 81, 5))
    assert LargestDrop().epochs(NASBench201) == 25
    assert turns(LargestDrop(), NASBench201) == [0, 5, 10, 15, 20, 24]
    assert turns(LargestDrop(finetune=1), NASBench201) == list(range(6))
    assert turns(LargestDrop(finetune=2), TINY) == list(range(0, 12, 2))
    assert LargestDrop(finetune=2).epochs(TINY) == 11
    assert Strongest().epochs(DARTS) == 0


def reference_loss(module: SearchModule, weights: Mapping[str, Tensor], images: Tensor, targets: Tensor) -> float:
    supernet = copy.deepcopy(module.supernet).train()
    with torch.no_grad():
        logits = supernet(images, {kind: Mixture(weight) for kind, weight in weights.items()})
    return float(F.cross_entropy(logits, targets))


class Phase(NamedTuple):
    """A search that selected, what was seen of it, and what it said."""

    folder: Path
    data: Digits
    seen: Snapshots
    module: Any
    said: list[str]


@pytest.fixture(scope="module")
def phase(tmp_path_factory: pytest.TempPathFactory) -> Phase:
    folder, data, seen, said = tmp_path_factory.mktemp("phase"), digits(eval_batch_size=1000), Snapshots(), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("pytorch_lightning.robustnas"), "info", said.append)
        running = briefly(folder, tiny(), data=data, callbacks=[seen])
    return Phase(folder, data, seen, running.lightning_module, said)


def test_a_whole_phase_decides_as_a_plain_loop_does(phase: Phase) -> None:
    """Every score is recomputed with the supernet of that epoch, and every decision from the scores."""
    data, seen, module = phase.data, phase.seen, phase.module
    images = data.prepare(next(iter(data.loader("selection")))).images
    targets = next(iter(data.loader("selection"))).targets
    entries = module.hooks["perturbation_selection"].entries
    assert [one["epoch"] for one in entries] == [epoch for epoch in range(1, 7) for _ in "nr"]
    chosen: dict[str, dict[int, int]] = {"normal": {}, "reduce": {}}
    gone: dict[str, list[int]] = {"normal": [], "reduce": []}
    for one in entries:
        kind, then = one["cell"], seen.before[one["epoch"]]
        weights = {}
        for name, alpha in then.alphas.items():
            weights[name] = alpha.detach().softmax(dim=-1)
            for row, column in chosen[name].items():
                weights[name][row] = F.one_hot(torch.tensor(column), 3).float()
            weights[name][gone[name]] = 0.0
        edges = [edge.name for edge in TINY.cells[kind].edges]
        if "edge" in one:
            row, losses = edges.index(one["edge"]), {}
            assert row not in chosen[kind]
            for column in (1, 2):
                without = weights[kind].clone()
                without[row, column] = 0
                losses[OPERATIONS[column]] = reference_loss(then, {**weights, kind: without}, images, targets)
            chosen[kind][row] = max((1, 2), key=lambda column: losses[OPERATIONS[column]])
            assert one["keeps"] == OPERATIONS[chosen[kind][row]]
        else:
            assert len(chosen[kind]) == 5
            assert one["node"] == 3
            losses = {}
            for row in (2, 3, 4):
                without = weights[kind].clone()
                without[row] = 0
                losses[edges[row]] = reference_loss(then, {**weights, kind: without}, images, targets)
            gone[kind] = [min((2, 3, 4), key=lambda row: losses[edges[row]])]
            assert one["drops"] == [edges[row] for row in gone[kind]]
        found = {name: score["loss"] for name, score in one["without"][0].items()}
        assert found == pytest.approx(losses, rel=1e-5)
    assert all(len(columns) == 5 for columns in chosen.values())
    choices = {k: [(c.source, c.node, c.operation) for c in cs] for k, cs in module.genotype().cells.items()}
    for kind, cell in TINY.cells.items():
        rows_left = [row for row in range(5) if row not in gone[kind]]
        left = [(cell.edges[row].source, cell.edges[row].node, OPERATIONS[chosen[kind][row]]) for row in rows_left]
        assert choices[kind] == left
    module.genotype().validate(TINY)
    assert json.loads((phase.folder / "decisions.json").read_text()) == {"schema": 1, "decisions": entries}


def test_what_is_decided_against_is_not_computed_and_teaches_nothing(phase: Phase) -> None:
    module = phase.module
    for kind, mixture in module.mixtures(module.context("arch")).items():
        assert mixture.active.sum(dim=1).tolist() == [0 if row == set_of(module, kind) else 1 for row in range(5)]
        assert mixture.operations.detach().sum(dim=1).tolist() == [float(n) for n in mixture.active.sum(dim=1)]
        assert torch.equal(mixture.active, module.architecture.active_mask[kind])
    outputs = module.supernet(torch.randn(4, 1, 8, 8), module.mixtures(module.context("arch")))
    gradients = torch.autograd.grad(outputs.square().sum(), list(module.alphas.values()), materialize_grads=True)
    assert all(not gradient.any() for gradient in gradients)


def set_of(module: Any, kind: str) -> int:
    """The one row that a kind of cell dropped."""
    (row,) = module.hooks["perturbation_selection"].decisions.dropped[kind]
    return int(row)


def test_open_edges_still_learn(tmp_path: Path) -> None:
    module: Any = briefly(tmp_path, tiny(), max_steps=4).lightning_module  # one decision, then two steps
    assert len(module.hooks["perturbation_selection"].entries) == 2
    mixtures = module.mixtures(module.context("arch"))
    outputs = module.supernet(torch.randn(4, 1, 8, 8), mixtures)
    gradients = torch.autograd.grad(outputs.square().sum(), list(module.alphas.values()))
    for kind, gradient in zip(module.alphas, gradients, strict=True):
        decided = torch.tensor(
            [row in module.hooks["perturbation_selection"].decisions.operations[kind] for row in range(5)]
        )
        assert int(decided.sum()) == 1
        assert torch.equal(gradient.abs().sum(dim=1) > 0, ~decided)


@dataclass(frozen=True)
class Only(Pruning):
    """Leaves the convolution on the first edge and nothing but skips on the second, at the end of an epoch."""

    def prune(self, space: Any, shares: Any, kept: Any, context: Any) -> dict[str, Tensor]:
        left = {kind: stay.clone() for kind, stay in kept.items()}
        for stay in left.values():
            stay[0] = torch.tensor([False, False, True])
            stay[1] = torch.tensor([True, True, False])
        return left


def test_what_was_pruned_cannot_come_back(tmp_path: Path) -> None:
    module: Any = briefly(tmp_path, tiny(pruning=Only())).lightning_module
    keeps = {(one["cell"], one["edge"]): one for one in module.hooks["perturbation_selection"].entries if "edge" in one}
    for kind in TINY.cells:
        assert keeps[kind, "0-2"]["keeps"] == "sep_conv_3x3"
        assert keeps[kind, "1-2"]["keeps"] == "skip_connect"
        assert keeps[kind, "0-2"]["without"] == [{}]  # nothing to compare
        assert module.architecture.active_mask[kind][:2].tolist() == [[False, False, True], [False, True, False]]


def test_scores_move_no_statistics_and_are_the_same_for_every_batch_size_in_evaluation(tmp_path: Path) -> None:
    module = tiny()
    scores: list[Score] = []

    class Measure(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
            held = {name: buffer.clone() for name, buffer in pl_module.supernet.named_buffers()}
            chance = torch.get_rng_state()
            mixtures = pl_module.mixtures(pl_module.context("evaluation"))
            for size, by_batch in ((16, False), (1000, False), (16, True)):
                trainer.datamodule.eval_batch_size = size
                scoring = Scoring(trainer, pl_module.supernet, "classification", by_batch, 0)
                assert sum(len(places) for places in scoring.places) == 57
                scores.append(scoring(lambda images: pl_module.supernet(images, mixtures)))
            assert all(torch.equal(b, held[name]) for name, b in pl_module.supernet.named_buffers())
            assert torch.equal(torch.get_rng_state(), chance)

    fit(tmp_path, module, max_epochs=1, limit_train_batches=1, max_steps=1, callbacks=[Measure()])
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-5)
    assert scores[0].accuracy == scores[1].accuracy
    assert abs(scores[2].loss - scores[0].loss) > 1e-3


def test_without_samples_for_selection_those_of_alpha_count(tmp_path: Path) -> None:
    data = digits(fractions=(0.06, 0.04, 0.0))
    running = briefly(tmp_path, tiny(), data=data, limit_val_batches=1.0)
    module: Any = running.lightning_module
    assert len(module.hooks["perturbation_selection"].entries) == 12
    assert module.hooks["perturbation_selection"].decisions.complete(TINY)


def test_every_decision_is_said_in_words(phase: Phase) -> None:
    assert phase.said == [in_words(one, "loss") for one in phase.module.hooks["perturbation_selection"].entries]
    scores = {"skip_connect": {"accuracy": 0.71, "loss": 1.0}, "conv": {"accuracy": None, "loss": None}}
    one = {"epoch": 55, "cell": "normal", "edge": "0-2", "keeps": "conv", "without": [scores]}
    assert in_words(one, "accuracy") == (
        "epoch 55: normal 0-2 keeps conv; accuracy without: skip_connect 0.7100, conv not finite"
    )
    node = {"epoch": 9, "cell": "cell", "node": 4, "drops": ["0-4", "2-4"], "without": [{"0-4": scores["conv"]}]}
    assert in_words(node, "loss") == "epoch 9: cell node 4 drops 0-4, 2-4; loss without: 0-4 not finite"


def test_what_is_open_goes_to_the_strongest() -> None:
    strengths = {kind: torch.tensor([[0.1, 0.6, 0.3]] * 5) for kind in TINY.cells}
    strengths["normal"][4] = torch.tensor([0.0, 0.1, 0.9])
    decisions = Decisions().with_operation("normal", 2, 2).with_operation("normal", 4, 1)
    found = Strongest().genotype(TINY, decisions.restrict(strengths)).cells["normal"]
    assert [(c.source, c.node, c.operation) for c in found] == [
        (0, 2, "skip_connect"),
        (1, 2, "skip_connect"),
        (1, 3, "skip_connect"),  # held with 0.6; the others with 0.3 and 0.1
        (0, 3, "sep_conv_3x3"),
    ]
    assert not decisions.complete(TINY)


def test_other_data_than_those_of_the_library_are_refused(tmp_path: Path) -> None:
    running = trainer(tmp_path)
    with pytest.raises(ValueError, match="Expected `datamodule` to be an ImageData, on whose role selection"):
        running.fit(tiny(), DataLoader([0]))


def test_wrong_arguments_are_named() -> None:
    def check(options: dict[str, Any], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            LargestDrop(**options)

    check_each(
        [
            ({"criterion": "luck"}, "Expected `criterion` to be 'accuracy' or 'loss', but got 'luck'."),
            ({"finetune": -1}, "Expected `finetune` to be at least 0, but got -1."),
            ({"lr": -1.0}, "Expected `lr` to be positive, but got -1.0."),
        ],
        lambda row: check(*row),
    )
