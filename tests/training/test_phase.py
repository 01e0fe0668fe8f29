"""Selection as a phase of training: which decisions fall when, on what they rest, and what they leave."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import StopAfter, differing, digits, fit, rows, state, trainer
from test_watch import At
from torch import Tensor
from torch.utils.data import DataLoader

from robustnas.networks import Mixture
from robustnas.spaces import DARTS, NASBench201
from robustnas.spaces.space import SearchSpace, complete_cell
from robustnas.strategies import LargestDrop, Pruning, RandomPerturbation, Strongest
from robustnas.strategies.decisions import Decisions, Score
from robustnas.training.hooks.perturbation_selection import in_words
from robustnas.training.scoring import Scoring
from robustnas.training.search import SearchModule

OPERATIONS = ("none", "skip_connect", "sep_conv_3x3")
CELL: dict[str, Any] = {"keep": 2, "never_selected": ("none",)}
TINY = SearchSpace(
    "tiny",
    {
        "normal": complete_cell(2, 2, OPERATIONS, (2, 3), **CELL),
        "reduce": complete_cell(2, 2, OPERATIONS, (2, 3), reduction=True, **CELL),
    },
)
BY_LOSS = LargestDrop("loss", interval=1)


def tiny(selection: LargestDrop = BY_LOSS, **options: Any) -> SearchModule:
    shared: dict[str, Any] = {"channels": 4, "layers": 3, "image_channels": 1, "alpha_init": 1.0}
    return SearchModule(TINY, selection=selection, **{**shared, **options})


def briefly(folder: Path, module: SearchModule, *args: Any, **options: Any) -> Trainer:
    return fit(folder, module, *args, **{"max_epochs": 1, "limit_train_batches": 2, **options})


class Snapshots(Callback):
    """The search at the start of every epoch, before it decides, and the step size of its weights in it."""

    def __init__(self) -> None:
        self.before: dict[int, SearchModule] = {}
        self.lr: dict[int, float] = {}
        self.momentum: dict[int, bool] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module: Any = copy.copy(pl_module)
        module._modules = {n: copy.deepcopy(m) for n, m in pl_module._modules.items() if n in ("supernet", "alphas")}
        self.before[trainer.current_epoch] = module

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.lr[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]
            self.momentum[trainer.current_epoch] = bool(trainer.optimizers[0].state)


def test_the_schedule_is_that_of_the_papers_runs() -> None:
    def turns(rule: LargestDrop, space: SearchSpace) -> list[int]:
        found = [epoch for epoch in range(rule.epochs(space)) if rule.turn(space, epoch) is not None]
        assert [rule.turn(space, epoch) for epoch in found] == list(range(len(found)))
        return found

    assert LargestDrop().epochs(DARTS) == 81
    assert turns(LargestDrop(), DARTS) == list(range(0, 81, 5))
    assert LargestDrop().epochs(NASBench201) == 25
    assert turns(LargestDrop(), NASBench201) == [0, 5, 10, 15, 20, 24]
    assert turns(LargestDrop(interval=1), NASBench201) == list(range(6))
    assert turns(LargestDrop(interval=2), TINY) == list(range(0, 12, 2))
    assert LargestDrop(interval=2).epochs(TINY) == 11
    assert Strongest().epochs(DARTS) == 0


def reference_loss(module: SearchModule, weights: Mapping[str, Tensor], images: Tensor, targets: Tensor) -> float:
    supernet = copy.deepcopy(module.supernet).train()
    with torch.no_grad():
        logits = supernet(images, {kind: Mixture(weight) for kind, weight in weights.items()})
    return float(F.cross_entropy(logits, targets))


def test_a_whole_phase_decides_as_a_plain_loop_does(tmp_path: Path) -> None:
    """Every score is recomputed with the supernet of that epoch, and every decision from the scores."""
    data, seen = digits(eval_batch_size=1000), Snapshots()
    running = briefly(tmp_path, tiny(), data=data, callbacks=[seen])
    module: Any = running.lightning_module
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
    assert json.loads((tmp_path / "decisions.json").read_text()) == {"schema": 1, "decisions": entries}


def test_what_is_decided_against_is_not_computed_and_teaches_nothing(tmp_path: Path) -> None:
    module: Any = briefly(tmp_path, tiny()).lightning_module
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


@pytest.mark.parametrize(("lr", "wanted"), [pytest.param(None, 0.0025, marks=pytest.mark.slow), (0.004, 0.004)])
def test_schedules_are_those_of_the_search_and_the_phase_has_a_constant_step(
    tmp_path: Path, lr: float | None, wanted: float
) -> None:
    seen, plain = Snapshots(), Snapshots()
    running = briefly(tmp_path / "a", tiny(LargestDrop(interval=1, lr=lr)), max_epochs=3, callbacks=[seen])
    briefly(tmp_path / "b", SearchModule(TINY, 4, 3, image_channels=1), max_epochs=3, callbacks=[plain])
    assert [seen.lr[epoch] for epoch in range(3)] == [plain.lr[epoch] for epoch in range(3)]
    assert [seen.lr[epoch] for epoch in range(3, 9)] == [wanted] * 6
    assert [seen.momentum[epoch] for epoch in range(9)] == [epoch not in (0, 3) for epoch in range(9)]
    assert running.max_epochs == 3  # as it was given
    assert running.current_epoch == 9
    module: Any = running.lightning_module
    context = module.context("weights")
    assert (context.epoch, context.epochs) == (3, 3)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "drop path, smoothed": {"drop_path": 0.3, "perturbation": RandomPerturbation()},
}


@pytest.mark.parametrize("case", ["plain", pytest.param("drop path, smoothed", marks=pytest.mark.slow)])
def test_a_phase_that_is_resumed_is_the_undisturbed_one(tmp_path: Path, case: str) -> None:
    whole = briefly(tmp_path / "whole", tiny(**CASES[case]))
    module: Any = whole.lightning_module
    expected, entries = state(whole), module.hooks["perturbation_selection"].entries
    assert whole.global_step == 14
    saves: dict[str, tuple[int, dict[str, Any]]] = {
        "after the search": (2, {"save_on_train_epoch_end": True}),
        "inside an epoch of the phase": (6, {"every_n_train_steps": 5}),
        "between epochs of the phase": (8, {"save_on_train_epoch_end": True}),
    }
    for where, (step, when) in saves.items():
        folder = tmp_path / where
        saver = ModelCheckpoint(folder, "last", enable_version_counter=False, **when)
        with pytest.raises(RuntimeError, match="killed"):
            briefly(folder, tiny(**CASES[case]), callbacks=[saver, StopAfter(step)])
        resumed = briefly(folder, tiny(**CASES[case]), folder / "last.ckpt")
        assert resumed.global_step == 14, where
        assert differing(state(resumed), expected) == [], where
        again: Any = resumed.lightning_module
        assert again.hooks["perturbation_selection"].entries == entries, where
        assert again.genotype() == module.genotype(), where
        assert rows(resumed) == rows(whole), where


@pytest.mark.slow
def test_a_finished_phase_is_not_begun_again(tmp_path: Path) -> None:
    running = briefly(tmp_path, tiny())
    running.save_checkpoint(tmp_path / "end.ckpt")
    before: Any = running.lightning_module
    again = briefly(tmp_path, tiny(), tmp_path / "end.ckpt")
    module: Any = again.lightning_module
    assert again.global_step == running.global_step
    assert module.genotype() == before.genotype()
    assert module.hooks["perturbation_selection"].entries == before.hooks["perturbation_selection"].entries


@pytest.mark.slow
def test_a_stopped_search_selects_at_once(tmp_path: Path) -> None:
    """The supernet is that of the stop; the epoch returned to counts for what is open."""
    seen = Snapshots()
    running = briefly(tmp_path, tiny(stopping=At(2, 1)), max_epochs=9, callbacks=[seen])
    module: Any = running.lightning_module
    assert running.current_epoch == 3 + 6
    assert module.hooks["perturbation_selection"].began == module.search_epochs == 3
    assert [one["epoch"] for one in module.hooks["perturbation_selection"].entries] == [
        epoch for epoch in range(3, 9) for _ in "nr"
    ]
    for kind, strength in module.hooks["perturbation_selection"].weights.items():
        assert torch.equal(strength, module.hooks["early_stopping"].kept[1][kind])
    assert seen.lr[3] == pytest.approx(0.0025)
    saver = ModelCheckpoint(tmp_path, "last", enable_version_counter=False, every_n_train_steps=3)
    with pytest.raises(RuntimeError, match="killed"):
        briefly(tmp_path, tiny(stopping=At(2, 1)), max_epochs=9, callbacks=[saver, StopAfter(10)])
    resumed = briefly(tmp_path, tiny(stopping=At(2, 1)), tmp_path / "last.ckpt", max_epochs=9)
    assert differing(state(resumed), state(running)) == []
    again: Any = resumed.lightning_module
    assert again.hooks["perturbation_selection"].entries == module.hooks["perturbation_selection"].entries


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


def test_every_decision_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger("pytorch_lightning.robustnas"), "info", said.append)
    module: Any = briefly(tmp_path, tiny()).lightning_module
    assert said == [in_words(one, "loss") for one in module.hooks["perturbation_selection"].entries]
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"criterion": "luck"}, "Expected `criterion` to be 'accuracy' or 'loss', but got 'luck'."),
        ({"interval": 0}, "Expected `interval` to be at least 1, but got 0."),
        ({"lr": -1.0}, "Expected `lr` to be positive, but got -1.0."),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LargestDrop(**options)
