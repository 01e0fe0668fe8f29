"""Protects the files of tunings: they say what they mean, and what is wrong is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused
from tables import with_slow
from trainings import write

from robustnas.tuning.dimensions import Choices, Numbers, read_dimension
from robustnas.tuning.file import Pruner, Sampler, read_tuning
from robustnas.tuning.plan import planned

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "tunings").glob("*.yaml"))
LR = {"low": 0.1, "high": 1.0}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no space": ({"space": None}, "Expected `space` to name options and what they may be, but got None: nothing to"),
    "empty space": ({"space": {}}, "Expected `space` to name options and what they may be, but got {}: nothing to"),
    "no bounds": ({"space": {"a": 3}}, "Expected `space.a` to have `low` and `high` (with `log` or `step`), or"),
    "one bound": ({"space": {"a": {"low": 3}}}, "Expected `space.a` to have `low` and `high`"),
    "wrong order": ({"space": {"a": {"low": 1, "high": 0}}}, "Expected `space.a.low` to be below `space.a.high`, 0,"),
    "text": ({"space": {"a": {"low": "x", "high": 0}}}, "Expected `space.a.low` to be a number, but got 'x'"),
    "log of 0": ({"space": {"a": {"low": 0, "high": 1, "log": True}}}, "Expected `space.a.low` to be above 0, since"),
    "log": ({"space": {"a": {**LR, "log": 2}}}, "Expected `space.a.log` to be true or false, but got 2"),
    "step": ({"space": {"a": {**LR, "step": 5}}}, "Expected `space.a.step` to be above 0, at most 0.9, and without"),
    "one choice": ({"space": {"a": {"choices": [1]}}}, "Expected `space.a.choices` to be two or more different"),
    "twice": ({"space": {"a": {"choices": [1, 1]}}}, "Expected `space.a.choices` to be two or more different"),
    "own folder": ({"space": {"run_dir": LR}}, "Expected `space` to leave out `run_dir`, since each trial has a"),
    "metric": ({"metric": "accuracy"}, "Expected `metric` to be the name of a metric, such as val/top1, but got"),
    "test": ({"metric": "test/top1"}, "Expected `metric` to be one that may choose, such as val/top1, but got 'test"),
    "truth": ({"metric": "truth/accuracy"}, "Expected `metric` to be one that may choose, such as val/top1, but got"),
    "trials": ({"trials": 0}, "Expected `trials` to be a whole number from 1 to 100000, but got 0"),
    "seed": ({"seed": -1}, "Expected `seed` to be a whole number from 0 to 4294967295, but got -1"),
    "sampler": ({"sampler": "grid"}, "Expected `sampler` to be one of TPE, random, but got 'grid'"),
    "pruner": ({"pruner": {"name": "ASHA", "x": 1}}, "Expected `pruner` to have only name, min_epochs, reduction, but"),
    "reduction": ({"pruner": {"name": "ASHA", "reduction": 1}}, "Expected `pruner.reduction` to be a whole number"),
    "command": ({"command": "test"}, "Expected `command` to be one of evaluate, fit, but got 'test'"),
    "run of fit": ({"command": "fit"}, "Expected `run` with `command: evaluate`, since a search finds its own"),
    "genotype": ({"space": {"genotype": True}}, "Expected `space.genotype` to be the name of a search space, but got"),
    "key": ({"spaces": {}}, "Expected a tuning to have only name, command, run, config, options, space, metric"),
    "name": ({"name": "a/b"}, "Expected `name` to be a text that can name a folder, but got 'a/b'"),
    "config": ({"config": "nowhere.yaml"}, "Expected `config` to be a YAML file or the name of one that comes with"),
}  # fmt: skip

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"space": {"model.init_args.lrr": LR}}, "Expected an option of EvaluationModule, but got `lrr`; did"),
    "range": ({"space": {"model.init_args.drop_path": LR}}, "Expected `drop_path` to be zero or more and below"),
    "type": ({"space": {"model.init_args.lr": {"choices": ["a", "b"]}}}, "Expected `lr` to be float, but got 'a'"),
    "not logged": ({"metric": "val/map"}, "Expected `metric` to be one that these runs log: val/loss, val/top1"),
    "no metric": ({"metric": "own/thing"}, "Expected `metric` to be one that these runs log: "),
    "no genotype": ({"run": None}, "Expected RUN, or `run` in the file, to be the search or the genotype that is"),
    "search": ({"command": "fit", "run": None}, "Expected the model of `command: fit` to be a search, but got "),
    "validation": ({"options": {"trainer.limit_val_batches": 0}, "config": "quickstart_evaluation.yaml"},
        "Expected `trainer.limit_val_batches` above 0, since the validation chooses"),
    "devices": ({"options": {"trainer.devices": 2}}, "Expected `trainer.devices` to be 1, since trials run beside"),
    "batch": ({"space": {"data.init_args.batch_size": {"choices": [16, 5000, 32]}}},
        "Expected `batch_size` to give at least one full batch of the 1"),
    "fewer edges": ({"space": {"genotype": "DARTSFewerEdges"}}, "Expected `space.genotype` to be a space in which"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused(case: str, tmp_path: Path) -> None:
    changed, expected = WRONG[case]
    refused(read_tuning, write(tmp_path, **changed), expected=expected)


@pytest.mark.parametrize("case", with_slow(UNFIT, ["no metric"]))  # as "not logged"
def test_what_cannot_run_is_refused_before_it_runs(case: str, tmp_path: Path) -> None:
    changed, expected = UNFIT[case]
    data = {"data": {"class_path": "robustnas.data.Digits"}}
    if "options" in changed:
        changed = {**changed, "options": {**data, **changed["options"]}}
    refused(lambda: planned(read_tuning(write(tmp_path, **changed))), expected=expected)


def test_a_file_says_little_and_defaults_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump({"space": {"model": {"init_args": {"lr": LR}}}}), encoding="utf-8")
    tuning = read_tuning(str(path))
    assert (tuning.name, tuning.command, tuning.metric, tuning.trials) == ("short", "evaluate", None, 20)
    assert (tuning.sampler, tuning.pruner) == (Sampler("TPE", 10), Pruner("ASHA", 1, 3))
    assert tuning.space == {"model.init_args.lr": Numbers(0.1, 1.0)}


def test_dimensions() -> None:
    assert read_dimension("a", {"low": 1, "high": 9, "step": 2}) == Numbers(1, 9, step=2, whole=True)
    assert read_dimension("a", {"low": 1, "high": 9.0}) == Numbers(1, 9.0)
    named = read_dimension("a", {"choices": {"none": None, "some": {"class_path": "x"}}})
    assert isinstance(named, Choices)
    assert (named.option("some"), named.find(None)) == ({"class_path": "x"}, "none")
    numbers = Numbers(1, 9, step=2, whole=True)
    assert numbers.find(3) == 3
    for wrong in (2, 11, "3"):
        with pytest.raises(ValueError, match="Expected"):
            numbers.find(wrong)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_tuning_is_read_and_documented(path: Path) -> None:
    tuning = read_tuning(path.stem)
    assert tuning.name == path.stem.replace("_", "-")
    assert f"`{path.stem}`" in (ROOT / "docs" / "guides" / "tuning.md").read_text(encoding="utf-8")
    if tuning.command == "fit":
        assert planned(tuning).metric == tuning.metric
