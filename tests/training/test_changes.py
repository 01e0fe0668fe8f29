"""A run that goes on with other options: what is recorded is what is used, is said once, or is refused by name."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from continued import STEPS, Seen, begun, cosine, evaluation, fit
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from runs import digits, search
from tables import check_each
from test_adaptive import Scripted, adaptive

from robustnas.runs.record import Run
from robustnas.spaces import Genotype
from robustnas.strategies import CurvatureRise, EntropyPenalty, GumbelOneHot, LpSparsity, RandomPerturbation
from robustnas.training import EvaluationModule, Found, ResNet, SearchModule
from robustnas.training.changes import RULES, TRAINER, UNKNOWN, _rule

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"


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


@pytest.mark.parametrize(
    "names", [("lr", "arch_lr"), ("momentum", "arch_betas"), ("nesterov", "arch_weight_decay"), ("weight_decay",)]
)
def test_an_optimiser_takes_the_options_that_are_given(tmp_path: Path, searched: Path, names: tuple[str, ...]) -> None:
    given, groups = {name: APPLIED[name][0] for name in names}, Groups()
    fit(tmp_path, search(penalty=LpSparsity(), **given), searched, max_epochs=3, callbacks=[groups])
    places = {APPLIED[name][1:]: pytest.approx(cosine(2, 3, lr=0.1)) if name == "lr" else given[name] for name in names}
    before = torch.load(searched, weights_only=True)["optimizer_states"]
    assert groups.held is not None
    for place, group in enumerate(groups.held):
        for known, held in before[place]["param_groups"][0].items():
            if known != "params" and (known != "initial_lr" or "lr" not in names):
                assert group[known] == places.get((place, known), held), (place, known)


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


def test_what_would_make_a_search_inconsistent_is_refused_by_name(tmp_path: Path, searched: Path) -> None:
    def check(name: str) -> None:
        options = {"penalty": LpSparsity(), name: REFUSED[name]}
        with pytest.raises(ValueError, match=rf"^Expected `{name}` to be .*, as in the checkpoint, since .*, but got "):
            fit(tmp_path, search(**options), searched, max_epochs=3)

    check_each(REFUSED, check)


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
    assert (continued["epoch"], continued["step"]) == (2, 2 * STEPS)


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


@pytest.mark.slow
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
