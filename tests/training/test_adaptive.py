"""Going back and going on with more weight decay: what is restored, what is run again, and that it resumes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, RobustDARTS
from runs import SMALLEST, StopAfter, differing, fit, rows, state
from tables import check_each

from robustnas.strategies import CurvatureRise, LpSparsity, RaiseDecay, RandomPerturbation, ShareThreshold, Unrolled
from robustnas.training.curvature import Measured
from robustnas.training.description import load
from robustnas.training.hooks.rollback import Rollback, restore, state_of
from robustnas.training.search import SearchModule
from robustnas.training.search_hook import SearchHook

RULE = CurvatureRise(window=1, lag=2, start=0, interval=1, samples=4)
VALUES = [[1, 1, 1, 2, 9, 9], [1, 1, 1, 1, 2, 9], [1, 9, 99, 999, 9999, 99999]]  # by increase and epoch
EPOCHS = [0, 1, 2, 3, 2, 3, 4, 3, 4, 5]  # back from 3 to 1, back from 4 to 2, and then no more
SMALL = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03}


class Scripted(RobustDARTS):
    """The eigenvalues are given."""

    def hooks_of_parts(self) -> list[SearchHook]:
        hook, *others = super().hooks_of_parts()
        hook.measure_curvature = lambda batch: Measured(float(VALUES[hook.raised][self.current_epoch]))
        return [hook, *others]


def adaptive(kind: type[RobustDARTS] = Scripted, **options: Any) -> RobustDARTS:
    return kind(**{"stopping": RaiseDecay(RULE), **SMALL, **options})


def run(folder: Path, module: SearchModule, ckpt_path: Path | None = None, **options: Any) -> Trainer:
    return fit(folder, module, ckpt_path, **{"max_epochs": 6, "limit_train_batches": 2, **options})


def decay_of(running: Trainer) -> float:
    return running.optimizers[0].param_groups[0]["weight_decay"]


class Kept(Callback):
    """The state at the start of each epoch, after a return, and the seeds of its batches."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.decays: list[float] = []
        self.seeds: list[list[tuple[int, int]]] = []

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self.states.append(state(trainer))
        self.decays.append(decay_of(trainer))
        self.seeds.append([])

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.seeds[-1].append((int(batch["weights"].seed), int(batch["arch"].seed)))


def test_epochs_are_run_again_with_more_decay_until_it_would_be_too_much(tmp_path) -> None:
    kept, module = Kept(), adaptive()
    running = run(tmp_path, module, callbacks=[kept])
    assert [row["epoch"] for row in rows(running)] == EPOCHS
    assert [row["step"] for row in rows(running)] == list(range(2, 21, 2))
    assert (running.global_step, running.current_epoch) == (20, 6)
    decays = [3e-4] * 4 + [3e-3] * 3 + [3e-2] * 3
    assert kept.decays == pytest.approx(decays, rel=1e-12)
    assert [kept.seeds[EPOCHS.index(epoch)] for epoch in EPOCHS] == kept.seeds  # of an epoch, always the same batches
    assert len({tuple(seeds) for seeds in kept.seeds}) == 6
    assert [row["arch/weight_decay"] for row in rows(running)] == pytest.approx(decays, rel=1e-6)
    assert [row["arch/curvature"] for row in rows(running)] == [1, 1, 1, 2, 1, 1, 2, 999, 9999, 99999]
    assert module.hooks["early_stopping"].epochs == [0, 1, 2, 3, 4, 5]
    assert module.hooks["early_stopping"].values == [1, 1, 1, 999, 9999, 99999]
    assert (
        module.hooks["early_stopping"].left,
        module.hooks["early_stopping"].stop,
        module.hooks["early_stopping"].states,
    ) == (0, None, {})


def test_after_a_return_the_search_is_bit_for_bit_as_at_the_end_of_that_epoch(tmp_path) -> None:
    kept = Kept()
    run(tmp_path, adaptive(edge_weights=True), callbacks=[kept])
    starts = kept.states  # of the epochs in EPOCHS
    for again, first in ((4, 2), (7, 5)):
        assert EPOCHS[again] == EPOCHS[first]
        assert differing(starts[again], starts[first]) == []
        assert {"alphas.cell", "betas.cell", "optimiser 0 lr"} <= set(differing(starts[again], starts[again - 1]))


SEARCHES: dict[str, dict[str, Any]] = {
    "second order": {"gradient": Unrolled()},
    "learned edges, a penalty, pruning": {
        "edge_weights": True,
        "penalty": LpSparsity(),
        "pruning": ShareThreshold(0.15, 0.5),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_it_is_a_run_loaded_from_that_epoch_with_the_larger_decay(tmp_path, name: str) -> None:
    options = SEARCHES[name]

    def from_checkpoint(folder: str, start: Path | None, decay: float) -> Trainer:
        if start is not None:
            checkpoint = torch.load(start, weights_only=True)
            checkpoint["optimizer_states"][0]["param_groups"][0]["weight_decay"] = decay
            torch.save(checkpoint, start)
        saver = ModelCheckpoint(tmp_path / folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        module = DARTS(**{**SMALL, **options})
        return run(tmp_path / folder, module, start, callbacks=[saver])

    from_checkpoint("a", None, 3e-4)
    from_checkpoint("b", tmp_path / "a/epoch=1.ckpt", 3e-3)
    expected = from_checkpoint("c", tmp_path / "b/epoch=2.ckpt", 3e-2)
    module = adaptive(**options)
    found = run(tmp_path / "d", module)
    assert decay_of(found) == pytest.approx(3e-2)
    assert differing(state(found), state(expected)) == []
    last, wanted = rows(found)[-3:], rows(expected)[-3:]
    for one, other in zip(last, wanted, strict=True):
        assert all(one[key] == value for key, value in other.items() if key != "step")


@pytest.mark.slow
def test_the_comparison_sees_another_decay(tmp_path) -> None:
    """Two ways back, with decays that differ by little."""
    one = run(tmp_path / "a", adaptive())
    other = run(tmp_path / "b", adaptive(stopping=RaiseDecay(RULE, 9.999)))
    assert {"alphas.cell", "supernet.body.classifier.weight"} <= set(differing(state(one), state(other)))


@pytest.mark.slow
def test_the_epoch_just_before_can_be_returned_to(tmp_path) -> None:
    """Then the next epoch is the one that has just been run, and its batches come again in the same order."""
    kept, module = Kept(), adaptive(stopping=RaiseDecay(CurvatureRise(1, 1, 1.5, 0, 1), max_weight_decay=4e-3))
    running = run(tmp_path, module, callbacks=[kept])
    assert [row["epoch"] for row in rows(running)] == [0, 1, 2, 3, 3, 4, 5]
    assert differing(kept.states[4], kept.states[3]) == []
    assert kept.seeds[4] == kept.seeds[3]


CUTS = {  # three steps an epoch, so that the search goes back after 12 and after 21, and ends after 30
    "before": (10, {"save_on_train_epoch_end": True}),
    "at the return": (14, {"save_on_train_epoch_end": True}),
    "decided, not measured": (14, {"every_n_train_steps": 4}),
    "decided and measured": (14, {"save_on_train_epoch_end": False}),
    "inside an epoch run again": (17, {"every_n_train_steps": 4}),
    "after the second": (29, {"every_n_train_steps": 7}),
}
QUICK = ("inside an epoch run again",)


def drawing(folder: Path, ckpt_path: Path | None = None, **options: Any) -> Trainer:
    """A search in which much is drawn at random."""
    module = adaptive(drop_path=0.3, perturbation=RandomPerturbation(), pruning=ShareThreshold(0.1, 0.3))
    return run(folder, module, ckpt_path, limit_train_batches=3, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return drawing(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in CUTS if n not in QUICK)])
def test_a_resumed_search_is_the_undisturbed_one_bit_for_bit(tmp_path: Path, whole: Trainer, name: str) -> None:
    step, when = CUTS[name]
    saver = ModelCheckpoint(tmp_path, "last", enable_version_counter=False, **when)
    with pytest.raises(RuntimeError, match="killed"):
        drawing(tmp_path, callbacks=[saver, StopAfter(step)])
    resumed = drawing(tmp_path, tmp_path / "last.ckpt")
    assert resumed.global_step == whole.global_step == 30
    assert differing(state(resumed), state(whole)) == []
    if not name.startswith("decided"):  # at the end of an epoch, Lightning forgets its metrics
        assert rows(resumed) == rows(whole)
    assert decay_of(resumed) == decay_of(whole)
    first, second = whole.lightning_module.hooks["early_stopping"], resumed.lightning_module.hooks["early_stopping"]
    assert (second.epochs, second.values, second.raised) == (first.epochs, first.values, 2)
    assert torch.equal(second.early["cell"], first.early["cell"])
    for file in ("genotype.json", "genotypes/epoch_0003.json"):
        assert (tmp_path / file).read_text() == (Path(whole.default_root_dir) / file).read_text()


@pytest.mark.slow
def test_the_result_of_early_stopping_is_said_at_the_first_increase(tmp_path, caplog) -> None:
    module = adaptive(alpha_init=1.0)
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        run(tmp_path, module)
    said = [text for text in caplog.messages if text.startswith(("Early", "Returned"))]
    early = module.selection.genotype(module.space, module.hooks["early_stopping"].early)
    assert said == [
        f"Early stopping alone would have ended the search after epoch 3 with {early}.",
        "Returned from the end of epoch 3 to the end of epoch 1, with weight decay 0.003.",
        "Returned from the end of epoch 4 to the end of epoch 2, with weight decay 0.03.",
    ]
    assert torch.equal(module.hooks["early_stopping"].early["cell"], module.hooks["early_stopping"].kept[1]["cell"])
    with torch.no_grad():
        assert module.genotype() == module.selection.genotype(module.space, module.architecture_weights())
    assert (tmp_path / "genotype.json").read_text() == (tmp_path / "genotypes/epoch_0005.json").read_text()


@pytest.mark.slow
def test_the_eigenvalue_itself_sends_a_search_back(tmp_path) -> None:
    """Not a script: on one batch each, with a ratio of one, some measurement is higher than the one before."""
    rule = CurvatureRise(1, 1, 1.0, 0, 1, measured_on="last_batch")
    module = adaptive(RobustDARTS, stopping=RaiseDecay(rule, max_weight_decay=3e-3))
    running = run(tmp_path, module)
    assert module.hooks["early_stopping"].raised == 1
    assert decay_of(running) == pytest.approx(3e-3)
    assert len(rows(running)) == 7
    assert module.hooks["early_stopping"].epochs == list(range(6))


@pytest.mark.slow
def test_a_checkpoint_holds_the_states_that_can_be_returned_to_and_executes_nothing(tmp_path) -> None:
    saver = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=True)
    run(tmp_path, adaptive(RobustDARTS, stopping=RaiseDecay(RULE)), callbacks=[saver], limit_val_batches=0)
    held = torch.load(tmp_path / "step=4.ckpt", weights_only=True)["robustnas"]["early_stopping"]
    assert list(held["states"]) == [0, 1]
    restored = load(tmp_path / "step=4.ckpt", SearchModule)
    assert isinstance(restored.hooks["early_stopping"], Rollback)
    assert restored.hooks["early_stopping"].stopping == RaiseDecay(RULE)
    tensors = restored.hooks["early_stopping"].states[1]["tensors"]
    assert all(torch.equal(tensors[name], value) for name, value in restored.named_parameters())
    assert tensors.keys() == {name for name, _ in [*restored.named_parameters(), *restored.named_buffers()]}


def test_a_state_is_a_copy_and_restoring_it_copies_again(tmp_path) -> None:
    running = fit(tmp_path, adaptive(RobustDARTS), limit_train_batches=2, limit_val_batches=0)
    module: Any = running.lightning_module
    taken, before = state_of(module), state(running)
    for _ in range(2):
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.data.zero_()
        for optimizer in running.optimizers:
            for values in optimizer.state.values():
                for value in values.values():
                    value.zero_()
            optimizer.param_groups[0]["lr"] = 7.0
        module.architecture.active_mask["cell"][:] = False
        running.lr_scheduler_configs[0].scheduler.last_epoch = 9
        restore(module, taken)
        assert differing(state(running), before) == []
        assert module.architecture.active_mask["cell"].all()
        assert running.lr_scheduler_configs[0].scheduler.last_epoch == 1


def test_a_weight_decay_that_cannot_be_raised_is_refused() -> None:
    def check(decay: float) -> None:
        message = re.escape(
            "Expected `weight_decay` to be positive and, times the `factor` 10 of `RaiseDecay`, at most 0.03, "
            f"but got {decay:g}."
        )
        with pytest.raises(ValueError, match=f"^{message}$"):
            adaptive(weight_decay=decay)

    check_each([0.0, 0.0031, 1.0], check)
