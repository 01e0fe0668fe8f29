"""Protects the baselines of a study: each runs, costs what the searches cost, resumes, and refuses wrong arguments."""

from __future__ import annotations

import statistics
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from tables import check_each
from test_running import Inline

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.commands import ablate
from robustnas.networks import DiscreteNetwork, ResNet
from robustnas.runs.record import Run, read_json
from robustnas.spaces import find_space, random_genotype
from robustnas.studies.configuration import configured, epochs_of
from robustnas.studies.grid import trials_of
from robustnas.studies.progress import where
from robustnas.studies.results import read_results
from robustnas.studies.searchers import baseline_of, halving
from robustnas.studies.study import Study, read_study
from robustnas.studies.trial import Trial

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

TINY = Path(__file__).with_name("tiny.yaml")
SHORT = {"evaluations": 2, "epochs": 1}
EVERY = {"RandomSharing": {"samples": 3}, "ResNet": {"blocks": 1}, "RandomSearch": SHORT}


def study(folder: Path, **changed: Any) -> Study:
    held = {**yaml.safe_load(TINY.read_text(encoding="utf-8")), **changed}
    path = folder / "study.yaml"
    kept = {name: value for name, value in held.items() if value != "left out"}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return read_study(str(path))


def trial_of(folder: Path, name: str, **changed: Any) -> Trial:
    trials = configured(trials_of(study(folder, **changed)))
    return next(trial for trial in trials if trial.variant == name)


def median_size(channels: int) -> float:
    space, generator = find_space("NASBench201"), Random(0)
    with torch.device("meta"):
        networks = [
            DiscreteNetwork(space, random_genotype(space, generator), channels, None, 1, 10, 1, "cifar", False)
            for _ in range(15)
        ]
    return statistics.median(sum(weight.numel() for weight in network.parameters()) for network in networks)


def test_every_baseline_is_a_cell_with_an_evaluation_and_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate, "engine_of", lambda options, root: Inline())
    study(tmp_path, baselines=EVERY)
    root = tmp_path / "runs"
    assert main(["ablate", str(tmp_path / "study.yaml"), "--folder", str(root)]) == 0
    held = {record.variant: record for record in read_results(root)}
    assert set(held) == {"DARTS", *EVERY}
    assert all(record.baseline == (name != "DARTS") for name, record in held.items())
    assert all(record.held["score"]["name"] == "test/top1" for record in held.values())
    search = root / held["RandomSearch"].folder / "search"
    trace = read_json(search / "trace.json")
    assert (trace["unit"], trace["planned"], trace["metric"]) == ("epochs", 2, "val/top1")
    assert [one["spent"] for one in trace["observations"]] == [1, 2]
    best = max(trace["observations"], key=lambda one: one["score"])
    assert best["genotype"] == str(Run(search).genotype())
    for number, one in enumerate(trace["observations"]):  # each is an ordinary run, measured on validation data
        log = search / "evaluations" / f"{number:04}" / "run" / "metrics.csv"
        rows = log.read_text(encoding="utf-8").splitlines()
        names, values = rows[0].split(","), rows[-1].split(",")
        assert float(dict(zip(names, values, strict=True))["val/top1"]) == pytest.approx(one["score"], abs=1e-6)
    assert where(root / held["RandomSearch"].folder)[0] == "evaluation"
    shared = yaml.safe_load(
        (root / held["RandomSharing"].folder / "search" / "config.yaml").read_text(encoding="utf-8")
    )
    variant = yaml.safe_load((root / held["DARTS"].folder / "search" / "config.yaml").read_text(encoding="utf-8"))
    assert shared["model"]["class_path"] == "robustnas.variants.RandomSharing"
    for name in ("space", "channels", "cells", "lr", "weight_decay"):
        assert shared["model"]["init_args"][name] == variant["model"]["init_args"][name]
    assert (shared["data"], shared["trainer"]) == (variant["data"], variant["trainer"])
    smallest = sum(weight.numel() for weight in ResNet(2, 1, 10, 1).parameters())
    assert abs(held["ResNet"].held["parameters"] - median_size(4)) <= abs(smallest - median_size(4))
    assert held["ResNet"].held["genotype"] is None


def test_an_interrupted_random_search_pays_for_no_evaluation_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of(tmp_path, "RandomSearch", baselines={"RandomSearch": SHORT})
    run, trained = lightning_cli.main, list[str]()

    def fit(sections: dict[str, Any], **options: Any) -> Any:
        trained.append(sections["run_dir"])
        if len(trained) == stop:
            raise KeyboardInterrupt
        return run(sections, **options)

    monkeypatch.setattr(lightning_cli, "main", fit)
    stop = -1
    calm = baseline_of(trial).find(trial, tmp_path / "calm")
    assert len(trained) == 2
    trained.clear()
    stop = 2
    with pytest.raises(KeyboardInterrupt):
        baseline_of(trial).find(trial, tmp_path / "rough")
    assert where_of(tmp_path / "rough") == ("search", "1/2 epochs")
    assert baseline_of(trial).find(trial, tmp_path / "rough") == calm
    assert [Path(folder).parent.name for folder in trained] == ["0000", "0001", "0001"]
    traces = [read_json(tmp_path / name / "trace.json")["observations"] for name in ("calm", "rough")]
    for one in [*traces[0], *traces[1]]:
        assert one.pop("seconds") > 0
    assert traces[0] == traces[1]


def where_of(search: Path) -> tuple[str, ...]:
    (search.parent / "trial").mkdir()
    search.parent.joinpath("trial", "search").symlink_to(search)
    return where(search.parent / "trial")[:2]


@pytest.mark.slow
def test_a_baseline_may_cost_what_the_longest_search_costs(tmp_path: Path) -> None:
    """30 epochs, and 10 with a selection of two for each edge but one: 30 pay for six of five epochs."""
    variants = {"long": {"config": "digits_darts_second_order"}, "short": {"config": "digits_darts_pt"}}
    changed = {"variants": variants, "common": None, "baselines": ["RandomSearch", "RandomSharing"]}
    trials = configured(trials_of(study(tmp_path, **changed)))
    assert [epochs_of(trial.search) for trial in trials if not trial.baseline] == [30, 20]
    assert trial_of(tmp_path, "RandomSearch", **changed).arguments == {"evaluations": 6, "epochs": 5}
    assert trial_of(tmp_path, "RandomSharing", **changed).arguments["epochs"] == 30
    longer = {**changed, "baselines": {"RandomSearch": {"epochs": 7}}}
    assert trial_of(tmp_path, "RandomSearch", **longer).arguments == {"evaluations": 4, "epochs": 7}
    one, other = (trial_of(tmp_path, "RandomSearch", **each).fingerprint for each in (changed, longer))
    assert one != other


def test_cheap_baselines_are_there_unless_they_are_switched_off(tmp_path: Path) -> None:
    def names(**changed: Any) -> list[str]:
        return list(study(tmp_path, **changed).baselines)

    assert names(baselines="left out") == ["RandomGenotype", "RandomSharing", "ResNet"]
    assert names(baselines="left out", evaluation=None) == ["RandomSharing"]
    assert names(baselines=[]) == names(baselines=None) == []
    taken = {"randomsharing": {"config": "digits_random_sharing"}}
    assert names(baselines="left out", variants=taken) == ["RandomGenotype", "ResNet"]
    listed = study(tmp_path, baselines=["ResNet", {"RandomSearch": SHORT}]).baselines
    assert listed == {"ResNet": {}, "RandomSearch": SHORT} == study(tmp_path, baselines=listed).baselines


def test_a_baseline_that_makes_no_sense_is_refused_at_the_start(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        ({"baselines": {"RandomSearch": {"budget": 3}}}, "Expected RandomSearch to have only evaluations, epochs, but"),
        ({"baselines": {"RandomGenotype": {"n": 3}}}, "Expected RandomGenotype to have no arguments, but got `n`"),
        ({"baselines": {"RandomSearch": {"epochs": 0}}}, "`epochs` of RandomSearch to be a whole number from 1, but"),
        ({"baselines": {"RandomSearch": {"epochs": True}}}, "`epochs` of RandomSearch to be a whole number from 1"),
        ({"baselines": {"RegularisedEvolution": {"evaluations": 2, "population": 3}}}, "at least `population`, but"),
        ({"baselines": ["ResNet"], "evaluation": None}, "Expected `evaluation`, whose recipe ResNet is trained with"),
        ({"baselines": ["RandomSearch"], "evaluation": None}, "`evaluation` or `table` for RandomSearch, but got"),
        ({"baselines": ["SuccessiveHalving"]}, r"Expected Ray Tune .* not installed; `pip install robustnas\[ray\]"),
        ({"baselines": ["RandomSearch"], "common": {"trainer.max_epochs": -1}}, "`evaluations` of RandomSearch, si"),
    ]  # fmt: skip

    def check(row: tuple[Any, str]) -> None:
        changed, sentence = row
        tmp_path = tmp_path_factory.mktemp("row")
        monkeypatch.setattr(halving.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ValueError, match=sentence) as caught:
            configured(trials_of(study(tmp_path, **changed)))
        assert str(caught.value).startswith("Expected ")

    check_each(rows, check)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["MobileSmall", "S1"])
def test_baselines_know_every_kind_of_space(space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two searches and two trainings, of a few steps, in a chain of blocks and where edges are dropped."""
    monkeypatch.setattr(ablate, "engine_of", lambda options, root: Inline())
    size = {"channels": 4} if space == "MobileSmall" else {"channels": 4, "layers": 3}
    common = {
        "model.init_args": {"space": space, "cells": None, **size}, "data.init_args.batch_size": 16,
        "trainer": {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "accelerator": "cpu"},
    }  # fmt: skip
    recipe = {f"model.init_args.architecture.init_args.{name}": value for name, value in size.items()}
    options = {**recipe, "trainer": {**common["trainer"], "limit_test_batches": 1}}
    found = study(
        tmp_path, common=common, evaluation={"options": options},
        baselines={"RandomSharing": {"samples": 2}, "RandomSearch": {"evaluations": 1, "epochs": 1}, "ResNet": None},
    )  # fmt: skip
    assert len(found.baselines) == 3
    assert main(["ablate", str(tmp_path / "study.yaml"), "--folder", str(tmp_path / "runs")]) == 0
    for record in read_results(tmp_path / "runs"):
        if record.held["genotype"]:
            Run(tmp_path / "runs" / record.folder / "search").genotype().validate(find_space(space))
