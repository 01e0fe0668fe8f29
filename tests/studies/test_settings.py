"""Protects settings of the evaluation: each network trains under each, and mean and best are told apart."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import check_each
from test_ablate import asked, in_this_process, write  # noqa: F401
from test_running import Inline

from robustnas.__main__ import main
from robustnas.commands.ablate import print_results
from robustnas.planning import probe
from robustnas.planning.probe import Stage
from robustnas.studies.configuration import configured
from robustnas.studies.estimate import estimate, seconds_of
from robustnas.studies.grid import trials_of
from robustnas.studies.progress import where
from robustnas.studies.results import Record, best_setting, read_results, rows_of
from robustnas.studies.run_trial import mean_metrics
from robustnas.studies.study import read_study
from robustnas.studies.trial import Trial, in_folder

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs", "in_this_process")

EVALUATION = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text(encoding="utf-8"))["evaluation"]
LR, DECAY = "model.init_args.lr", "model.init_args.weight_decay"
FACTORS = {"lr": {"0.1": {LR: 0.1}, "0.01": {LR: 0.01}}, "decay": {"none": {DECAY: 0.0}, "0.001": {DECAY: 1.0e-3}}}
NAMES = ["lr=0.1, decay=none", "lr=0.1, decay=0.001", "lr=0.01, decay=none", "lr=0.01, decay=0.001"]


def study(folder: Path, settings: Any = FACTORS, **more: Any) -> str:
    return write(folder, evaluation={**EVALUATION, "settings": settings, **more})


def trials(path: str) -> list[Trial]:
    return configured(trials_of(read_study(path)))


def test_all_levels_are_combined_into_complete_configurations(tmp_path: Path) -> None:
    held = trials(study(tmp_path))
    for trial in held:
        assert list(trial.settings) == NAMES
        given = {name: one["model"]["init_args"] for name, one in trial.settings.items()}
        assert [(one["lr"], one["weight_decay"]) for one in given.values()] == [
            (0.1, 0.0), (0.1, 1e-3), (0.01, 0.0), (0.01, 1e-3),
        ]  # fmt: skip
        assert list(trial.evaluations) == [f"evaluation/{name.replace(', ', ',')}" for name in NAMES]
    one = {"one": {"a": {LR: 0.1}, "b": {LR: 0.2, DECAY: 0.0}}}
    assert list(trials(study(tmp_path, one))[0].settings) == ["one=a", "one=b"]


def test_a_study_without_settings_is_as_before(tmp_path: Path) -> None:
    plain, under = trials(write(tmp_path)), trials(study(tmp_path))
    assert [list(trial.evaluations) for trial in plain] == [["evaluation"]] * 2
    assert not any(trial.settings for trial in plain)
    for one, other in zip(plain, under, strict=True):
        assert one.evaluation == other.evaluation  # what baselines train with, before the settings
        assert one.fingerprint != other.fingerprint
    recipe = [trial for trial in trials(study(tmp_path, size="recipe")) if not trial.baseline]
    assert recipe[0].fingerprint == under[0].fingerprint


@pytest.mark.parametrize("only", [["DARTS"], pytest.param([], marks=pytest.mark.slow)], ids=["alone", "all"])
def test_a_network_is_trained_under_each_setting_and_resumed_in_the_one_under_way(
    asked: list[Any],  # noqa: F811
    tmp_path: Path,
    capsys: Any,
    only: list[str],
) -> None:
    root, networks = tmp_path / "study", len(only) or 2
    command = ["ablate", study(tmp_path), "--folder", str(root), *(["--only", *only] if only else [])]
    assert main(command) == 0
    assert len(asked) == 1 + networks * 4
    for record in read_results(root):
        trial, held = root / record.folder, record.held
        tested = {
            name: json.loads((trial / "evaluation" / in_folder(name) / "test.json").read_text(encoding="utf-8"))
            for name in NAMES
        }
        values = {name: test["test/top1"] for name, test in tested.items()}
        assert record.under == values
        assert held["metrics"]["test"]["test/top1"] == record.score == pytest.approx(sum(values.values()) / 4)
        best = max(values.values())
        assert record.best is not None
        assert (record.best["value"], record.best["of"]) == (best, 4)
        assert values[record.best["setting"]] == best
        configs = [
            yaml.safe_load((trial / "evaluation" / in_folder(name) / "config.yaml").read_text(encoding="utf-8"))
            for name in NAMES
        ]
        assert [config["model"]["init_args"]["lr"] for config in configs] == [0.1, 0.1, 0.01, 0.01]
        assert (
            len({config["model"]["init_args"]["architecture"]["init_args"].get("genotype") for config in configs}) == 1
        )
        assert held["seconds"]["evaluation"] == pytest.approx(
            sum(stage["seconds"] for name, stage in read(trial / "progress.json")["stages"].items() if "/" in name)
        )
    said = capsys.readouterr().out
    assert said.count(" (of 4)") == networks
    row = next(csv.DictReader((root / "results.csv").open(encoding="utf-8")))
    assert (row["settings"], row["best_setting"] in NAMES) == ("4", True)
    assert float(row["best"]) == max(float(row[f"score, {name}"]) for name in NAMES)

    first = read_results(root)[0]
    trial = root / first.folder  # as if killed in the third setting, after its checkpoint
    (trial / "result.json").unlink()
    progress = read(trial / "progress.json")
    for name in NAMES[2:]:
        del progress["stages"][f"evaluation/{in_folder(name)}"]
    (trial / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
    assert main(command) == 0
    assert [given["run_dir"] for given in asked[1 + networks * 4 :]] == [
        str(trial / "evaluation" / in_folder(n)) for n in NAMES[2:]
    ]
    again = read_results(root)[0]
    assert (again.held["metrics"], again.held["score"]) == (first.held["metrics"], first.held["score"])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_networks_may_be_as_large_as_the_search(tmp_path: Path) -> None:
    options = {"trainer.max_epochs": 1}
    evaluation = {"config": "evaluate_nasbench201.yaml", "options": options, "size": "search"}
    spaces = {"small": {"model.init_args": {"cells": 1}}, "deep": {"model.init_args": {"cells": 3, "channels": 6}}}
    found = trials(write(tmp_path, evaluation=evaluation, spaces=spaces))
    network = {(t.space, t.variant): t.evaluation["model"]["init_args"]["architecture"] for t in found if t.evaluation}
    sizes = {key: (held["init_args"]["channels"], held["init_args"]["cells"]) for key, held in network.items()}
    assert sizes[("small", "DARTS")] == sizes[("small", "RandomGenotype")] == (4, 1)
    assert sizes[("deep", "DARTS")] == sizes[("deep", "RandomGenotype")] == (6, 3)


def test_a_mean_is_over_what_all_have_and_a_single_one_is_itself() -> None:
    value = 0.1 + 0.2
    assert mean_metrics([{"a": value}]) == {"a": value}
    assert mean_metrics([{"a": 1.0, "b": 2.0}, {"a": 2.0}]) == {"a": 1.5}
    assert mean_metrics([]) == {}


def test_a_stage_counts_as_often_as_it_runs() -> None:
    stage = Stage(start=1.0, step=0.5, steps=4, val_step=0.0, val_steps=0, epochs=10)
    assert seconds_of({"stages": {"evaluation": (stage, 9)}}) == 9 * 21


@pytest.mark.slow
def test_an_estimate_counts_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    found = estimate(trials(study(tmp_path)), Inline())
    once = estimate(trials(write(tmp_path)), Inline())
    assert not found.failed
    assert not once.failed
    assert all(found.seconds[key] > 2 * once.seconds[key] for key in found.seconds if key.startswith("Random"))


def test_settings_that_take_different_times_are_measured_one_by_one(tmp_path: Path) -> None:
    from robustnas.studies.probing import _alike

    factors = {"lr": FACTORS["lr"], "epochs": {"short": {"trainer.max_epochs": 1}, "long": {"trainer.max_epochs": 2}}}
    trial = trials(study(tmp_path, factors))[0]
    assert [(held["trainer"]["max_epochs"], count) for held, count in _alike(trial.evaluations.values())] == [
        (1, 2), (2, 2),
    ]  # fmt: skip


def test_progress_shows_the_setting_under_way(tmp_path: Path) -> None:
    for number, name in enumerate(("a=1", "a=2")):
        folder = tmp_path / "evaluation" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text('{"epochs": 9}')
        (folder / "metrics.csv").write_text(f"epoch,step,train/loss,val/loss\n{number},1,1,1\n")
    assert where(tmp_path) == ("evaluation/a=2", "2/9", "val/loss 1.0000")


def made(best: float, setting: str, higher: bool = True) -> Any:
    from types import SimpleNamespace

    score = {"name": "test/top1", "higher_is_better": higher}
    return SimpleNamespace(best={"value": best, "setting": setting, "of": 9}, held={"score": score})


def test_the_best_of_several_seeds_is_of_all_their_settings() -> None:
    assert best_setting([made(0.5, "a"), made(0.7, "b"), made(0.6, "c")]) == {"value": 0.7, "setting": "b", "of": 27}
    assert best_setting([made(0.5, "a", False), made(0.7, "b", False)]) == {"value": 0.5, "setting": "a", "of": 18}
    assert best_setting([]) is None


WRONG: list[tuple[Mapping[str, Any], str]] = [
    ({"settings": {}}, r"Expected `evaluation.settings` to be names with their options, but got \{\}: a grid of zero"),
    ({"settings": None}, "Expected `evaluation.settings` to be names with their options, but got None"),
    ({"settings": {"lr": {}}}, r"Expected `evaluation.settings.lr` to be names .*: a grid of zero"),
    ({"settings": [1]}, r"Expected `evaluation.settings` to be names with their options, but got \[1\]"),
    ({"settings": {"lr": {"a": {}}}}, "Expected `evaluation.settings.lr.a` to set an option, but got none"),
    ({"settings": {"lr": {"a": {"run_dir": "x"}}}}, "`evaluation.settings.lr.a` to leave out `run_dir`, since each tr"),
    (
        {"settings": {"lr": {"a": {"seed_everything": 1}}}},
        "Expected `evaluation.settings.lr.a` to leave out `seed_everything`, since `seeds` sets it, but got 1",
    ),
    (
        {"settings": {"net": {"a": {"model.init_args.architecture.init_args.genotype": "x"}}}},
        "to leave out `model.init_args.architecture.init_args.genotype`, since the study sets the network",
    ),
    ({"settings": {"net": {"a": {"model.architecture": "ResNet"}}}}, "leave out `model.architecture`, since the study"),
    (
        {"settings": {"net": {"a": {"model.architecture.channels": 8}}}, "size": "search"},
        "leave out `model.architecture.channels`, since the study sets the network that is trained, but got 8",
    ),
    (
        {"options": {"model.init_args.architecture.init_args": {"channels": 8}}, "size": "search"},
        "Expected `evaluation.options` to leave out `model.init_args.architecture.init_args.channels`, since `size: s",
    ),
    ({"size": "large"}, "Expected `evaluation.size` to be one of recipe, search, but got 'large'"),
    ({"settings": {"a": {"x": {LR: 1}}, "b": {"y": {LR: 2}}}}, "by one factor of `evaluation.settings`, but two set m"),
    ({"settings": {"a": {"x y": {LR: 1}, "x/y": {LR: 2}}}}, "'a=x y' and 'a=x/y' would share a=x-y; name them more"),
    (
        {"settings": {str(k): {str(n): {f"a{k}": n} for n in range(11)} for k in range(3)}},
        "Expected `evaluation.settings` to combine to at most 1000, but got 1,331",
    ),
]


def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(row: tuple[Mapping[str, Any], str]) -> None:
        evaluation, sentence = row
        with pytest.raises(ValueError, match=sentence) as caught:
            read_study(write(tmp_path_factory.mktemp("row"), evaluation=evaluation))
        assert str(caught.value).startswith("Expected ")
        assert "\n" not in str(caught.value)

    check_each(WRONG, check)


def test_two_settings_that_train_the_same_are_refused(tmp_path: Path) -> None:
    same = {"lr": {"small": {LR: 0.025}, "default": {"model.lr": 0.025}}}
    with pytest.raises(ValueError, match="'lr=small' and 'lr=default' do not") as caught:
        trials(study(tmp_path, same))
    assert str(caught.value).startswith("Expected `evaluation.settings` to differ in what they train, but ")
    with pytest.raises(ValueError, match="wrong"):
        trials(study(tmp_path, {"lr": {"a": {"model.wrong": 1}}}))


def test_a_setting_that_cannot_train_is_named(tmp_path: Path, capsys: Any) -> None:
    bad = {"lr": {"good": {LR: 0.1}, "bad": {"data.init_args.fractions": [0.0, 0.0, 0.1]}}}
    code = main(["ablate", study(tmp_path, bad), "--folder", str(tmp_path / "study"), "--only", "RandomGenotype"])
    said = capsys.readouterr().out
    assert code == 1
    assert "(under the setting lr=bad)" in said.replace("\n", " ")
    assert not read_results(tmp_path / "study")


def test_rows_and_table_of_a_study_without_settings_have_no_such_columns(tmp_path: Path, capsys: Any) -> None:
    assert main(["ablate", write(tmp_path), "--folder", str(tmp_path / "study"), "--only", "RandomGenotype"]) == 0
    records = read_results(tmp_path / "study")
    assert "best_setting" not in rows_of(records)[0]
    assert "settings" not in records[0].held
    capsys.readouterr()
    print_results(records, {}, 2)
    assert "setting" not in capsys.readouterr().out


def test_a_mean_stands_beside_its_interval(capsys: Any) -> None:
    score = {"name": "truth/accuracy", "value": 0.0, "higher_is_better": True}
    held = {"score": score, "verdict": None, "parameters": None, "seconds": {"search": 2.0}}
    records = [
        Record("DARTS", None, None, {}, seed, False, value, f"trials/DARTS/seed-{seed}", held)
        for seed, value in enumerate((90.0, 92.0, 94.0))
    ]
    print_results(records, {}, 3)
    row = next(line for line in capsys.readouterr().out.splitlines() if "DARTS" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["DARTS", "92.00", "87.03 to 96.97", "3", "", "2"]
