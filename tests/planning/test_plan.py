"""A plan sets what was chosen, keeps what is given, and says why; steps take what the test says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from robustnas.cli.configuration import configuration
from robustnas.planning.given import given_options
from robustnas.planning.plan import CONFIGURED, GIVEN, Plan, Request, plan_chosen, plan_configured
from robustnas.planning.probe import Stage

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|"
FOUND = ["-c", "evaluate_nasbench201", f"--model.architecture.genotype={GENOTYPE}"]
PC_DARTS = ["-c", "digits_pc_darts"]


def slowly(sections: Mapping[str, Any], folder: Path) -> Stage:
    """Every step takes 20 ms."""
    return Stage(1.0, 0.02, 40.0, 0.0, 0.0, sections["trainer"]["max_epochs"])


def plan(base: list[str], own: list[str] = [], budget: float | None = 600.0, seconds: float = 0.0) -> Plan:  # noqa: B006
    request = Request(configuration([*base, *own]), given_options(own), budget, 256, Path("unused"))
    return plan_chosen(request, slowly, lambda: seconds)


def values(found: Plan) -> dict[str, Any]:
    return {setting.name: setting.value for setting in found.settings}


def test_an_evaluation_is_sized_and_its_options_are_those_of_the_command() -> None:
    found = plan(FOUND)
    assert values(found) == {"batch_size": 128, "lr": 0.05, "channels": 16, "cells": 3, "max_epochs": 200}
    reasons = {setting.name: setting.reason for setting in found.settings}
    assert reasons["batch_size"] == "11 steps in an epoch of 1,438 images, at least 6"
    assert reasons["lr"] == "0.1 for batches of 256 in the recipe; in proportion"
    assert reasons["max_epochs"] == "as in the recipe"
    assert "the largest for images of this size" in reasons["cells"]
    held = configuration([*FOUND, *found.words])
    assert held["model"]["init_args"]["architecture"]["init_args"]["cells"] == 3
    assert held["data"]["init_args"]["batch_size"] == 128
    assert held["model"]["init_args"]["lr"] == 0.05
    assert held["model"]["init_args"]["weight_decay"] == 5e-4  # of the recipe


@pytest.mark.parametrize(
    "own",
    [
        ["--model.architecture.channels=5", "--data.batch_size", "7", "--trainer.max_epochs=3"],
        ["--model.init_args.architecture.init_args.channels=5", "--data.init_args.batch_size", "7",
            "--trainer.max_epochs=3"],
        ["--model.architecture.channels=5", '--data={"class_path": "Digits", "init_args": {"batch_size": 7}}',
            "--trainer={max_epochs: 3}"],
    ],
    ids=["short", "long", "sections"],
)  # fmt: skip
def test_given_options_win_in_every_form(own: list[str]) -> None:
    found = plan(FOUND, own, None)
    assert values(found) == {"batch_size": 7, "lr": 0.00273, "channels": 5, "cells": 3, "max_epochs": 3}
    assert [setting.name for setting in found.settings if setting.reason == GIVEN] == [
        "batch_size", "channels", "max_epochs",
    ]  # fmt: skip
    assert not any("channels" in word or "batch" in word or "epochs" in word for word in found.words)
    assert found.budget is None  # the default does not refuse epochs that are given


def test_a_search_on_few_images_is_short_and_its_alpha_fast() -> None:
    found = plan(["-c", "digits_darts"])
    assert values(found) == {
        "stem": "cifar", "batch_size": 64, "lr": 0.00625, "channels": 16, "layers": 8, "max_epochs": 16,
        "arch_lr": 0.0091,
    }  # fmt: skip
    given = plan(["-c", "digits_darts"], ["--model.lr=0.1"])
    assert {setting.name: setting.reason for setting in given.settings}["lr"] == GIVEN


def test_alpha_starts_in_proportion_and_keeps_the_step_of_an_optimiser_other_than_adam() -> None:
    chosen = values(plan(PC_DARTS))
    assert (chosen["max_epochs"], chosen["arch_start"], chosen["arch_lr"]) == (16, 4, 0.012)
    kept = plan(PC_DARTS, ["--model.arch_start=2", "--model.arch_lr=0.5"])
    assert "arch_start" not in values(kept)
    assert {setting.name: setting.reason for setting in kept.settings}["arch_lr"] == GIVEN
    gaea = {setting.name: setting for setting in plan(["-c", "digits_gaea"]).settings}
    assert (gaea["arch_lr"].value, gaea["arch_lr"].reason) == (0.1, CONFIGURED)


def test_a_configuration_is_planned_as_it_is() -> None:
    request = Request(configuration(["-c", "digits_darts"]), {}, None, 64, Path("unused"))
    found = plan_configured(request, slowly)
    assert {setting.reason for setting in found.settings} == {CONFIGURED}
    assert values(found) == {"channels": 8, "layers": 3, "batch_size": 64, "max_epochs": 30, "arch_lr": 3e-4}
    assert found.words == []
    assert found.seconds == 1 + 30 * 40 * 0.02


def test_a_network_that_is_not_one_of_a_genotype_keeps_its_size() -> None:
    resnet = [*FOUND[:2], '--model.architecture={"class_path": "ResNet", "init_args": {"channels": 4, "blocks": 1}}']
    assert values(plan(resnet)) == {"batch_size": 128, "lr": 0.05, "max_epochs": 200}


def test_options_in_json_are_seen() -> None:
    held = given_options(["--trainer", json.dumps({"max_epochs": 3}), "-c", "x", "--model.init_args.lr=1", "--a={"])
    assert held["trainer.max_epochs"] == "3"
    assert held["model.lr"] == "1"
