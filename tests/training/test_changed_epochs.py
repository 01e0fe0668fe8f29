"""A run that goes on with another number of epochs: every schedule follows it, and so does the selection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from continued import LATER, STEPS, Seen, begun, cosine, evaluation, fit
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTSPT
from runs import SMALLEST, StopAfter, differing, search, state
from tables import with_slow

from robustnas.strategies import EntropyPenalty, GumbelOneHot, LargestDrop, RandomPerturbation, ShareThreshold
from robustnas.training import SearchModule

SMALL: dict[str, Any] = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1}


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
}

ALIKE = ("radius", "penalty", "drop path of a search")  # they follow from the epoch as the temperature does


@pytest.mark.parametrize("inside", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["between epochs", "in an epoch"])
@pytest.mark.parametrize("name", with_slow(SCHEDULES, ALIKE))
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
    step = 2 * STEPS + inside
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
        fit(tmp_path / "cut", search(), path, max_epochs=5, callbacks=[saver, StopAfter(11)])
    assert differing(state(fit(tmp_path / "cut", search(), tmp_path / "cut/cut.ckpt", max_epochs=5)), whole) == []


def phased(**options: Any) -> DARTSPT:
    return DARTSPT(**{"selection": LargestDrop("loss", finetune=1), **SMALL, **options})


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


@pytest.mark.slow
def test_in_the_selection_the_step_size_is_the_new_one_and_epochs_are_refused(tmp_path: Path) -> None:
    path = begun(tmp_path, phased(), 3, epochs=2)
    seen = Seen()
    fit(tmp_path, phased(lr=0.1), path, max_epochs=2, callbacks=[seen])
    assert set(seen.rates.values()) == {0.01}
    for options, epochs, name in (
        ({}, 4, "max_epochs"),
        ({"selection": LargestDrop("loss", finetune=2)}, 2, "selection"),
    ):
        with pytest.raises(ValueError, match=f"^Expected `{name}.*` to be .*, since the selection has begun to decide"):
            fit(tmp_path, phased(**options), path, max_epochs=epochs)
