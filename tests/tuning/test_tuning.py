"""Protects the running of a tuning: nothing is lost, nothing runs twice, early stopping stops, and seeds decide."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused, said
from trainings import Inline, Trainings, accuracy, write

from robustnas.__main__ import main
from robustnas.cli.configuration import configuration
from robustnas.commands import tune
from robustnas.runs.record import Run
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import NASBench201, find_space
from robustnas.tuning import run_trial, storage
from robustnas.tuning.confirming import write_best
from robustnas.tuning.file import read_tuning
from robustnas.tuning.plan import Plan, planned
from robustnas.tuning.results import Tried, importances, read_trials, write_results
from robustnas.tuning.running import run_trials

optuna = pytest.importorskip("optuna", reason='optuna is not installed: pip install "robustnas[tune]"')


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planned(read_tuning(write(tmp_path_factory.mktemp("plan"))))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    made = Trainings()
    monkeypatch.setattr(run_trial, "fit", made)
    monkeypatch.setattr(Plan, "sections", _sections(Plan.sections))
    monkeypatch.setattr(storage, "open_storage", functools.cache(storage.open_storage))  # as slow as a short training
    return made


def _sections(whole: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Configurations of trials without the parser, which takes a tenth of a second."""

    def sections(self: Plan, values: dict[str, Any], chosen: bool = False) -> dict[str, Any]:
        if chosen or not values:
            return whole(self, values, chosen)
        return {"model": {"init_args": {"lr": values["model.init_args.lr"]}}, "trainer": {"max_epochs": 9}}

    return sections


def run(root: Path, plan: Plan, total: int, numbers: Sequence[int] | None = None) -> list[Tried]:
    url = storage.default_storage(root)
    root.mkdir(exist_ok=True)
    study = storage.begin(root, plan, url)
    todo = storage.clear(study, total)
    run_trials(root, plan, url, todo if numbers is None else numbers, Inline(), lambda event: None)
    return read_trials(study, plan)


def test_the_untuned_configuration_is_the_first_trial_and_what_is_proposed_stays_in_the_space(
    plan: Plan, trainings: Trainings, tmp_path: Path
) -> None:
    assert plan.metric == "val/top1"
    found = run(tmp_path, replace(plan, pruner=replace(plan.pruner, name="none")), 6)
    assert [one.number for one in found] == list(range(6))
    assert found[0].values == {"model.init_args.lr": 0.1, "data.init_args.batch_size": 16}
    assert [one.untuned for one in found] == [True, *[False] * 5]
    assert all(1e-3 <= one.values["model.init_args.lr"] <= 1 for one in found)
    assert len({one.values["model.init_args.lr"] for one in found}) == 6
    assert {one.values["data.init_args.batch_size"] for one in found} <= {16, 32}
    for one in found:
        assert one.metric == pytest.approx(accuracy(float(one.values["model.init_args.lr"]), 8), abs=1e-6)
        assert (one.state, one.epochs) == ("complete", 9)


def test_trials_depend_on_the_seed_and_on_nothing_else(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    first, again = run(tmp_path / "a", plan, 3), run(tmp_path / "b", plan, 3)
    other = run(tmp_path / "c", replace(plan, seed=1, fingerprint="other"), 3)
    assert [one.values for one in first] == [one.values for one in again]
    assert [one.values for one in first[1:]] != [one.values for one in other[1:]]


def test_asha_stops_a_trial_that_is_worse_at_its_rung(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    """The rungs are 1 and 3 epochs; of two that reached one, a reduction of 3 keeps the better."""
    found = run(tmp_path, plan, 8)
    states = [one.state for one in found]
    assert states[0] == "complete"
    assert "stopped early" in states
    for number, one in enumerate(found):
        assert trainings.epochs[number] == one.epochs
        assert (one.epochs == 9) == (one.state == "complete")
        assert one.epochs in (1, 3, 9)
        rivals = [accuracy(float(o.values["model.init_args.lr"]), one.epochs - 1) for o in found[: number + 1]
            if o.epochs >= one.epochs]  # fmt: skip
        best = accuracy(float(one.values["model.init_args.lr"]), one.epochs - 1) == max(rivals)
        if one.state == "stopped early":
            assert not best


@pytest.mark.slow
def test_hyperband_stops_trials_too(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    found = run(tmp_path, replace(plan, pruner=replace(plan.pruner, name="Hyperband")), 10)
    assert "stopped early" in {one.state for one in found}


def test_an_interrupted_trial_goes_on_with_its_values(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    """As if the process was killed in the third trial: neither its values nor the others are lost."""
    whole = run(tmp_path / "whole", plan, 5)
    killed = len(trainings.begun) + 2

    def kill(number: int, epoch: int) -> None:
        if number == killed:
            raise KeyboardInterrupt

    trainings.at_epoch = kill
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", plan, 5)
    begun = list(trainings.begun)
    running = read_trials(storage.begin(tmp_path / "killed", plan, storage.default_storage(tmp_path / "killed")), plan)
    assert [one.state for one in running][2:] == ["running"]
    found = run(tmp_path / "killed", plan, 5)
    again = trainings.begun[len(begun) :]
    assert again[0] == begun[-1]  # the same values, in the same folder, from its last checkpoint
    assert [name for name, _ in again] == ["0002", "0003", "0004"]
    assert [(one.values, one.metric) for one in found] == [(one.values, one.metric) for one in whole]


def test_a_trial_that_had_ended_is_told_from_its_record(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.study.Study, "tell", kill)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, plan, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_trial, "fit", lambda *_, **__: None)  # nothing is left to train
        (found,) = run(tmp_path, plan, 1)
    assert (found.state, found.metric) == ("complete", pytest.approx(accuracy(0.1, 8)))


def test_a_trial_that_fails_is_kept_and_stops_no_other(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    def fail(number: int, epoch: int) -> None:
        if number == 1:
            raise ValueError("Expected the training loss to be finite, but got nan.")

    trainings.at_epoch = fail
    found = run(tmp_path, plan, 3)
    assert [one.state == "failed" for one in found] == [False, True, False]
    assert found[1].error == "Expected the training loss to be finite, but got nan."
    assert len(run(tmp_path, plan, 3)) == len(trainings.begun) == 3
    assert len(run(tmp_path, plan, 5)) == 5


def test_a_metric_that_is_not_logged_stops_the_tuning(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    trainings.metric = "val/other"
    wrong = replace(plan, metric="gap/accuracy")
    refused(run, tmp_path, wrong, 3, expected="Expected `metric` to be one that the run logs: val/top1, but got 'gap/")
    assert len(trainings.begun) == 1


def test_what_belongs_to_another_tuning_is_refused(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    run(tmp_path / "one", plan, 1)
    url = storage.default_storage(tmp_path / "one")
    other = replace(plan, fingerprint="other")
    expected = "to hold the trials of this tuning, but it holds those of another configuration, space, metric, sampler"
    refused(storage.begin, tmp_path / "one", other, url, expected=expected)
    (tmp_path / "two").mkdir()
    expected = f"Expected `--storage` to be new, or that of the tuning in {tmp_path / 'two'}, but {url} holds another"
    refused(storage.begin, tmp_path / "two", other, url, expected=expected)
    assert storage.begin(tmp_path / "two", replace(other, name="second"), url).trials == []  # beside the first
    elsewhere = f"sqlite:///{tmp_path / 'new.sqlite'}"
    refused(storage.begin, tmp_path / "one", plan, elsewhere, expected="Expected `--storage` to hold the trials that")
    Run(tmp_path / "three").write_manifest({})
    refused(storage.begin, tmp_path / "three", plan, elsewhere, expected="Expected `--folder` to be a new folder or")
    (tmp_path / "no.sqlite").write_text("no database, whatever its name says. " * 30, encoding="utf-8")
    (tmp_path / "four").mkdir()
    for wrong in (f"sqlite:///{tmp_path / 'no.sqlite'}", f"sqlite:///{tmp_path}/none/a.db", "nonsense"):
        refused(storage.begin, tmp_path / "four", plan, wrong, expected="Expected `--storage` to be the URL of a datab")


def test_a_password_is_not_shown(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected `--storage`") as caught:
        storage.open_storage("postgresql://me:secret@host:1/trials")
    assert "secret" not in str(caught.value)
    assert "postgresql://***@host:1/trials" in str(caught.value)


def test_the_fingerprint_is_that_of_what_trials_depend_on(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustnas.tuning.plan._checked", lambda plan, metric: metric or "val/top1")  # builds networks
    assert planned(read_tuning(write(tmp_path, trials=9))).fingerprint == plan.fingerprint
    changes: list[dict[str, Any]] = [{"seed": 1}, {"metric": "val/loss"}, {"pruner": "none"}, {"sampler": "random"}]
    assert len({planned(read_tuning(write(tmp_path, **one))).fingerprint for one in changes} | {plan.fingerprint}) == 5


@pytest.mark.slow
def test_importance_is_that_of_the_step_size(plan: Plan, trainings: Trainings, tmp_path: Path) -> None:
    alone = replace(plan, pruner=replace(plan.pruner, name="none"), sampler=replace(plan.sampler, name="random"))
    run(tmp_path, alone, 12)
    study = storage.begin(tmp_path, alone, storage.default_storage(tmp_path))
    shares = importances(study)
    assert shares["model.init_args.lr"] > 0.9 > shares["data.init_args.batch_size"]
    assert sum(shares.values()) == pytest.approx(1)
    trials, _ = write_results(tmp_path, study, alone)
    write_best(tmp_path, alone, trials, [])
    rows = read_csv(tmp_path / "trials.csv").records()
    assert [float(row["val/top1"]) for row in rows] == [one.metric for one in trials]
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    held = yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))
    best = max(trials, key=lambda one: one.metric or 0)
    assert held["model"]["init_args"]["lr"] == best.values["model.init_args.lr"]
    assert held["model"]["init_args"]["train_on_selection"] is True  # as the recipe says: nothing is chosen any more


def test_without_optuna_a_sentence_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert said(["tune", write(tmp_path), "--folder", str(tmp_path / "t")], capsys) == (
        'Expected Optuna for `robustnas tune`, but it is not installed; `pip install "robustnas[tune]"` installs it.'
    )
    assert not (tmp_path / "t").exists()


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "engine_of", lambda options, root: Inline())


SHORT = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 1, "logger": False,
    "accelerator": "cpu"}  # fmt: skip


@pytest.mark.usefixtures("inline")
def test_a_genotype_is_tuned_with_its_training_and_the_best_of_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With real trainings, of two batches an epoch."""
    monkeypatch.chdir(tmp_path)
    network = {"channels": 2, "cells": 1}
    data = {"class_path": "robustnas.data.Digits", "init_args": {"batch_size": 16}}
    options = {"model.init_args.architecture.init_args": network, "data": data, "trainer": SHORT}
    space = {"genotype": "NASBench201", "model.init_args.lr": {"low": 0.01, "high": 0.2, "log": True}}
    path = write(tmp_path, run=None, options=options, space=space, pruner="none", trials=2, confirm="none")
    assert main(["tune", path, "--folder", "t"]) == 0
    told = capsys.readouterr().out
    assert "2 trials: 2 complete." in told
    assert "untuned" in told
    rows = read_csv("t/trials.csv").records()
    assert len({tuple(row[name] for name in row if name.startswith("genotype.")) for row in rows}) == 2
    trained = yaml.safe_load(Path("t/trials/0001/evaluation/config.yaml").read_text(encoding="utf-8"))
    assert trained["model"]["init_args"]["train_on_selection"] is False
    assert not Path("t/trials/0001/evaluation/test.json").exists()
    best = yaml.safe_load(Path("t/best.yaml").read_text(encoding="utf-8"))
    found = best["model"]["init_args"]["architecture"]["init_args"]["genotype"]
    assert configuration(["-c", "t/best.yaml"])["model"]["init_args"]["architecture"]["init_args"]["genotype"] == found
    train, test = told.splitlines()[-2:]
    assert main([*train.split()[1:], "--trainer.enable_progress_bar=false"]) == 0
    assert main([*test.split()[1:], "--trainer.enable_progress_bar=false"]) == 0
    assert 0 <= json.loads(Path("t/best/test.json").read_text(encoding="utf-8"))["test/top1"] <= 1
    values = {name: row for name, row in rows[1].items() if name.startswith("genotype.")}
    assert set(values.values()) <= set(find_space("NASBench201").operations)
    assert len(values) == len(NASBench201.cells["cell"].edges)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_the_step_sizes_of_a_search_are_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"model.init_args": {"space": "NASBench201", "layers": None, "cells": 1, "channels": 2},
        "diagnostics.measures": [], "trainer": SHORT, "data.init_args.batch_size": 16}  # fmt: skip
    space = {"model.init_args.arch_lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    confirm = {"best": 1, "seeds": 2}
    path = write(tmp_path, command="fit", run=None, config="digits_darts.yaml", options=options, space=space, trials=1,
        confirm=confirm)  # fmt: skip
    assert main(["tune", path, "--folder", str(tmp_path / "t")]) == 0
    told = capsys.readouterr().out
    assert "val/top1 on validation, 2 fresh seeds, 95 % intervals" in told
    assert f"robustnas evaluate {tmp_path / 't' / 'best'}" in told
    assert (tmp_path / "t" / "trials" / "0000" / "search" / "genotype.json").is_file()
