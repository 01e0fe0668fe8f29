"""A run that goes on with other options: what is recorded is what is used, is said once, or is refused by name."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTSPT
from runs import SMALLEST, StopAfter, differing, digits, fit, search, state
from test_adaptive import Scripted, adaptive

from robustnas.runs.record import Run
from robustnas.spaces import Genotype
from robustnas.strategies import (
    CurvatureRise,
    EntropyPenalty,
    GumbelOneHot,
    LargestDrop,
    LpSparsity,
    RandomPerturbation,
    ShareThreshold,
)
from robustnas.training import EvaluationModule, Found, ResNet, SearchModule
from robustnas.training.changes import RULES, TRAINER, UNKNOWN, _rule

STEPS, LONGER = 5, 9  # of an epoch of digits in a search and in an evaluation
LATER = 6  # epochs of the longer run
GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
SMALL: dict[str, Any] = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1}


def cosine(epoch: int, epochs: int, lr: float = 0.025, lr_min: float = 0.001) -> float:
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def evaluation(**options: Any) -> EvaluationModule:
    return EvaluationModule(**{"architecture": ResNet(4, 1), "image_channels": 1, **options})


def begun(folder: Path, module: Any, epoch: int = 2, epochs: int = 3, inside: int = 0, data: Any = None) -> Path:
    """A checkpoint of a run of ``epochs`` epochs at the start of ``epoch``, or so many steps ``inside`` it."""
    step = epoch * (STEPS if isinstance(module, SearchModule) else LONGER) + inside
    every = {"every_n_train_steps": step} if inside else {"every_n_epochs": epoch}
    saver = ModelCheckpoint(folder, "begun", save_on_train_epoch_end=not inside, **every)
    with pytest.raises(RuntimeError, match="killed"):
        fit(folder, module, max_epochs=epochs, callbacks=[saver, StopAfter(step + 1)], data=data)
    return folder / "begun.ckpt"


class Seen(Callback):
    """What a run uses: the learning rate of each epoch, and what ``read`` says of its module."""

    def __init__(self, read: Callable[[Any], float] = lambda module: 0.0) -> None:
        self.read, self.rates, self.values = read, dict[int, float](), dict[int, float]()

    def on_train_batch_start(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.rates[trainer.current_epoch] = trainer.optimizers[0].param_groups[0]["lr"]
        self.values[trainer.current_epoch] = self.read(module)


def dropped(module: Any) -> float:
    """The drop path rate that the network was last trained with, asked for before a step."""
    searches = hasattr(module, "supernet")
    network, name = (module.supernet, "forward") if searches else (module.network, "with_auxiliary")
    if not hasattr(network, "asked"):
        inner, network.asked = getattr(network, name), [0.0]

        def noted(*args: Any) -> Any:
            network.asked += [args[-1]] if network.training else []
            return inner(*args)

        setattr(network, name, noted)
    return float(network.asked[-1])


def weight_of_penalty(module: SearchModule) -> float:
    context, shares = module.context("arch"), module.shares()
    return (
        float(module.penalty.of({}, shares, context) / EntropyPenalty(1.0).of({}, shares, context))
        * (context.epoch + 1)
        / 6
    )


SCHEDULES: dict[str, tuple[Callable[[], Any], Callable[[Any], float], Callable[[int], float]]] = {
    "learning rate": (search, lambda module: 0.0, lambda e: 0.0),
    "temperature": (
        lambda: search(relaxation=GumbelOneHot()),
        lambda module: module.relaxation.tau(module.context("weights")),
        lambda e: 10 - 9.9 * e / 5,
    ),
    "radius": (
        lambda: search(perturbation=RandomPerturbation(0.1, 0.4)),
        lambda module: 0.1 + 0.3 * module.context("weights").epoch / module.context("weights").epochs,
        lambda e: 0.1 + 0.3 * e / 6,
    ),
    "penalty": (lambda: search(penalty=EntropyPenalty(0.3)), weight_of_penalty, lambda e: 0.3 * (e + 1) / 6),
    "threshold": (
        lambda: search(pruning=ShareThreshold(0.0, 0.1)),
        lambda module: module.pruning.threshold(module.context("arch")),
        lambda e: 0.1 * (e + 1) / 6,
    ),
    "drop path of a search": (lambda: search(drop_path=0.5), dropped, lambda e: 0.5 * e / 5),
    "drop path of an evaluation": (lambda: evaluation(drop_path=0.5), dropped, lambda e: 0.5 * e / 6),
    "learning rate of an evaluation": (evaluation, lambda module: 0.0, lambda e: 0.0),
}


@pytest.mark.parametrize("inside", [0, pytest.param(2, marks=pytest.mark.slow)], ids=["between epochs", "in an epoch"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_runs_over_the_new_number_of_epochs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, inside: int
) -> None:
    make, read, expected = SCHEDULES[name]
    path, seen = begun(tmp_path, make(), inside=inside), Seen(read)
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, make(), path, max_epochs=LATER, callbacks=[seen])
    least = 0.0 if "evaluation" in name else 0.001
    assert seen.rates == pytest.approx({e: cosine(e, LATER, lr_min=least) for e in range(2, LATER)}, rel=1e-9)
    assert seen.values == pytest.approx({e: expected(e) for e in range(2, LATER)}, rel=1e-5)
    step = 2 + 2 * (LONGER if "evaluation" in name else STEPS)
    place = f"step {step}, inside epoch 2," if inside else "epoch 2"
    assert [one for one in caplog.messages if "checkpoint" in one] == [
        "`max_epochs` was 3 in the checkpoint and is 6 now: the learning rate follows a cosine over 6 epochs from "
        f"{place} on, and all other schedules run over 6 too."
    ]


def test_a_finished_run_that_is_given_more_epochs_does_not_climb(tmp_path: Path) -> None:
    saver, seen = ModelCheckpoint(tmp_path, "begun", save_on_train_epoch_end=True), Seen()
    fit(tmp_path, search(), max_epochs=2, callbacks=[saver])
    fit(tmp_path, search(), tmp_path / "begun.ckpt", max_epochs=LATER, callbacks=[seen])
    rates = list(seen.rates.values())
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(cosine(2, 6))


def test_a_run_with_more_epochs_resumes_exactly(tmp_path: Path) -> None:
    path = begun(tmp_path / "a", search())
    whole = state(fit(tmp_path / "whole", search(), path, max_epochs=5))
    saver = ModelCheckpoint(tmp_path / "cut", "cut", save_on_train_epoch_end=True)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "cut", search(), path, max_epochs=5, callbacks=[saver, StopAfter(17)])
    assert differing(state(fit(tmp_path / "cut", search(), tmp_path / "cut/cut.ckpt", max_epochs=5)), whole) == []


def phased(**options: Any) -> DARTSPT:
    return DARTSPT(**{"selection": LargestDrop("loss", interval=1), **SMALL, **options})


def test_the_selection_follows_the_new_number_of_epochs(tmp_path: Path) -> None:
    path, seen = begun(tmp_path, phased()), Seen()
    module = phased()
    fit(tmp_path, module, path, max_epochs=4, callbacks=[seen])
    assert (
        module.hooks["perturbation_selection"].began,
        [one["epoch"] for one in module.hooks["perturbation_selection"].entries],
    ) == (
        4,
        [4, 5, 6, 7, 8, 9],
    )
    assert [seen.rates[epoch] for epoch in (2, 3)] == pytest.approx([cosine(2, 4), cosine(3, 4)])
    assert {seen.rates[epoch] for epoch in seen.rates if epoch >= 4} == {0.0025}


def test_in_the_selection_the_step_size_is_the_new_one_and_epochs_are_refused(tmp_path: Path) -> None:
    path = begun(tmp_path, phased(), 3, epochs=2)
    seen = Seen()
    fit(tmp_path, phased(lr=0.1), path, max_epochs=2, callbacks=[seen])
    assert set(seen.rates.values()) == {0.01}
    for options, epochs, name in (
        ({}, 4, "max_epochs"),
        ({"selection": LargestDrop("loss", interval=2)}, 2, "selection"),
    ):
        with pytest.raises(ValueError, match=f"^Expected `{name}.*` to be .*, since the selection has begun to decide"):
            fit(tmp_path, phased(**options), path, max_epochs=epochs)


APPLIED: dict[str, tuple[Any, int, str]] = {
    "lr": (0.1, 0, "lr"),
    "momentum": (0.5, 0, "momentum"),
    "nesterov": (True, 0, "nesterov"),
    "weight_decay": (0.01, 0, "weight_decay"),
    "arch_lr": (0.02, 1, "lr"),
    "arch_betas": ((0.1, 0.2), 1, "betas"),
    "arch_weight_decay": (0.5, 1, "weight_decay"),
}


class Groups(Callback):
    """What the optimisers hold at the first step."""

    held: list[dict[str, Any]] | None = None

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.held = self.held or [dict(optimizer.param_groups[0]) for optimizer in trainer.optimizers]


@pytest.mark.parametrize("name", APPLIED)
def test_an_optimiser_takes_the_option_that_is_given(tmp_path: Path, searched: Path, name: str) -> None:
    value, optimizer, key = APPLIED[name]
    groups = Groups()
    fit(tmp_path, search(**{"penalty": LpSparsity(), name: value}), searched, max_epochs=3, callbacks=[groups])
    before = torch.load(searched, weights_only=True)["optimizer_states"]
    assert groups.held is not None
    for place, group in enumerate(groups.held):
        for known, held in before[place]["param_groups"][0].items():
            if known == "params":
                continue
            if (place, known) == (optimizer, key):
                expected: Any = pytest.approx(cosine(2, 3, lr=0.1)) if name == "lr" else value
                assert group[known] == expected, known
            elif (name, known) != ("lr", "initial_lr"):
                assert group[known] == held, (place, known)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("searched"), search(penalty=LpSparsity()))


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("inside"), search(), 1, inside=2)


REFUSED: dict[str, Any] = {
    "alpha_init": 0.5,
    "edge_weights": True,
    "seed": 3,
    "relaxation": GumbelOneHot(),
    "penalty": EntropyPenalty(),
    "perturbation": RandomPerturbation(),
    "stopping": CurvatureRise(),
    "channels": 8,
    "space": "S2",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_make_a_search_inconsistent_is_refused_by_name(tmp_path: Path, searched: Path, name: str) -> None:
    options = {"penalty": LpSparsity(), name: REFUSED[name]}
    with pytest.raises(ValueError, match=rf"^Expected `{name}` to be .*, as in the checkpoint, since .*, but got "):
        fit(tmp_path, search(**options), searched, max_epochs=3)


def test_the_data_are_those_of_the_checkpoint_but_for_how_batches_are_made(
    tmp_path: Path, searched: Path, inside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = search(penalty=LpSparsity())
    for name, data in (("seed", digits(seed=4)), ("mean", digits(mean=(0.5,), std=(0.2,)))):
        with pytest.raises(ValueError, match=f"^Expected `data.{name}` to be .*, as in the checkpoint, since "):
            fit(tmp_path, made, searched, max_epochs=3, data=data)
    with pytest.raises(
        ValueError, match=r"^Expected `data.batch_size` to be 16, .* was saved inside an epoch, .* got 8"
    ):
        fit(tmp_path, search(), inside, max_epochs=3, data=digits(batch_size=8))
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, made, searched, max_epochs=3, data=digits(batch_size=8, augmentation=None), limit_val_batches=1)
    assert [one for one in caplog.messages if " was " in one] == [
        "`limit_val_batches` was 1.0 in the checkpoint and is 1 now: the new value holds from epoch 2 on.",
        "`data.batch_size` was 16 in the checkpoint and is 8 now: the new value holds from epoch 2 on.",
        "`data.eval_batch_size` was 16 in the checkpoint and is 8 now: the new value holds from epoch 2 on.",
        "`data.augmentation` was Augmentation in the checkpoint and is None now: the new value holds from epoch 2 on.",
    ]


def test_an_argument_of_a_part_is_said_and_recorded(
    tmp_path: Path, searched: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = searched.parent
    with caplog.at_level(logging.WARNING):
        fit(folder, search(penalty=LpSparsity(0.5)), searched, max_epochs=4)
    assert "`penalty.weight` was 0.1 in the checkpoint and is 0.5 now: the new value holds from epoch 2 on." in (
        caplog.messages
    )
    manifest = Run(folder).manifest
    assert manifest["epochs"] == 4
    (continued,) = manifest["continued"]
    assert continued["changed"] == {"max_epochs": [3, 4], "penalty.weight": [0.1, 0.5]}
    assert (continued["epoch"], continued["step"]) == (2, 10)


def test_where_nothing_is_left_to_train_other_options_are_refused(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "end", save_on_train_epoch_end=True)
    fit(tmp_path, search(), callbacks=[saver])
    with pytest.raises(
        ValueError, match=r"nothing is left to train: it has trained all 1 epochs, but got another `lr`"
    ):
        fit(tmp_path, search(lr=0.1), tmp_path / "end.ckpt")
    assert fit(tmp_path, search(), tmp_path / "end.ckpt").global_step == STEPS


def test_fewer_epochs_than_are_over_are_refused(tmp_path: Path, searched: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^Expected `max_epochs` to be 3, as in the checkpoint, since 2 epochs have already been",
    ):
        fit(tmp_path, search(penalty=LpSparsity()), searched, max_epochs=1)


def test_a_search_that_is_sent_back_goes_on_with_the_new_step_size(tmp_path: Path) -> None:
    """The states that it keeps to return to have the new options, too."""
    path, seen = begun(tmp_path, adaptive(Scripted), epochs=6), Seen()
    module = adaptive(Scripted, lr=0.1, momentum=0.5)
    running = fit(tmp_path, module, path, max_epochs=6, callbacks=[seen])
    assert module.hooks["early_stopping"].raised == 2
    assert seen.rates == pytest.approx({e: cosine(e, 6, lr=0.1) for e in range(2, 6)})
    assert running.optimizers[0].param_groups[0]["momentum"] == 0.5
    with pytest.raises(
        ValueError, match=r"^Expected `weight_decay` to be .* since its stopping rule raises it step by"
    ):
        fit(tmp_path, adaptive(Scripted, weight_decay=1e-4), path, max_epochs=6)


def test_a_checkpoint_of_an_earlier_version_has_its_epochs_in_its_schedule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = begun(tmp_path, search())
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["robustnas"]["options"]
    torch.save(checkpoint, path)
    seen = Seen()
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, search(arch_lr=0.01), path, max_epochs=6, callbacks=[seen])
    assert seen.rates == pytest.approx({e: cosine(e, 6) for e in range(2, 6)})
    assert [one.split(" was ")[0] for one in caplog.messages if " was " in one] == ["`arch_lr`", "`max_epochs`"]
    assert "The checkpoint does not record options of its trainer and its data:" in " ".join(caplog.messages)


def test_an_evaluation_goes_on_with_other_options(tmp_path: Path) -> None:
    path = begun(tmp_path, evaluation())
    seen, groups = Seen(), Groups()
    fit(tmp_path, evaluation(lr=0.1, lr_min=0.01, weight_decay=0.1, auxiliary_weight=0.1), path, max_epochs=5,
        callbacks=[seen, groups])  # fmt: skip
    assert seen.rates == pytest.approx({e: cosine(e, 5, 0.1, 0.01) for e in range(2, 5)})
    assert groups.held is not None
    assert groups.held[0]["weight_decay"] == 0.1
    for name, options in (
        ("architecture.channels", {"architecture": ResNet(5, 1)}),
        ("architecture", {"architecture": Found(GENOTYPE, channels=4, cells=1)}),
        ("train_on_selection", {"train_on_selection": True}),
    ):
        with pytest.raises(ValueError, match=f"^Expected `{name}` to be .*, as in the checkpoint, since "):
            fit(tmp_path, evaluation(**options), path, max_epochs=5)


def test_what_a_genotype_says_counts_not_where_its_file_lies(tmp_path: Path) -> None:
    def found(genotype: str) -> EvaluationModule:
        return evaluation(architecture=Found(genotype, space="NASBench201", channels=2, cells=1))

    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(Genotype.from_nasbench201(GENOTYPE).to_json(), encoding="utf-8")
    path = begun(tmp_path, found(str(tmp_path / "a.json")), 1)
    fit(tmp_path, found(str(tmp_path / "b.json")), path, max_epochs=3)
    other = GENOTYPE.replace("skip_connect~1", "avg_pool_3x3~1")  # no weight tells them apart
    (tmp_path / "a.json").write_text(Genotype.from_nasbench201(other).to_json(), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"^Expected `architecture.genotype` to be .*, as in the checkpoint, since it "
    ):
        fit(tmp_path, found(str(tmp_path / "a.json")), path, max_epochs=3)


def test_every_option_has_a_rule() -> None:
    """A new one says here what becomes of it."""
    named = {name for kind in (SearchModule, EvaluationModule) for name in inspect.signature(kind).parameters}
    parts = {f"architecture.{name}" for kind in (Found, ResNet) for name in inspect.signature(kind).parameters}
    assert [name for name in sorted(named | parts | set(TRAINER)) if _rule(name) is UNKNOWN] == []
    assert _rule("mine") is UNKNOWN


def test_an_option_that_no_rule_knows_is_said(
    tmp_path: Path, searched: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RULES, "clip")
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, search(penalty=LpSparsity(), clip=1.0), searched, max_epochs=3)
    assert (
        "`clip` was 5.0 in the checkpoint and is 1.0 now: the new value is taken; what it means for the steps already "
        "taken is not known."
    ) in caplog.messages
