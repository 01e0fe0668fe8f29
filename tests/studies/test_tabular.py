"""Protects studies with a table: true accuracies are looked up, and no search or baseline selects by them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tables import check_each
from test_running import Inline

from robustnas.__main__ import main
from robustnas.commands import ablate
from robustnas.runs.record import Run, read_json
from robustnas.spaces import NASBench201, decode, num_architectures
from robustnas.studies.results import Record, read_results
from robustnas.studies.study_table import StudyTable
from robustnas.tabular import Table

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

TINY = Path(__file__).with_name("tiny.yaml")
UP, DOWN, VALID = "up_test_200", "down_test_200", "up_valid_12"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All architectures with distinct accuracies; and one table that knows a single one."""
    folder, count = tmp_path_factory.mktemp("tables"), num_architectures(NASBench201)
    drawn = np.random.default_rng(0)
    up, valid = drawn.permutation(count) / 1000, drawn.permutation(count) / 1000
    columns = {UP: up.astype(np.float32), DOWN: (20 - up).astype(np.float32), VALID: valid.astype(np.float32)}
    genotypes = [decode(number, NASBench201) for number in range(count)]
    Table.of(genotypes, columns, "t", NASBench201).write(folder / "all.csv")
    one = {name: column[:1] for name, column in columns.items()}
    Table.of(genotypes[:1], one, "t", NASBench201).write(folder / "one.csv")
    return folder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate, "engine_of", lambda options, root: Inline())


def start(folder: Path, **changed: Any) -> int:
    held = {**yaml.safe_load(TINY.read_text(encoding="utf-8")), "evaluation": None, **changed}
    (folder / "study.yaml").write_text(yaml.safe_dump(held, sort_keys=False), encoding="utf-8")
    return main(["ablate", str(folder / "study.yaml"), "--folder", str(folder / "runs")])


def known(tables: Path, column: str) -> dict[str, np.float32]:
    with (tables / "all.csv").open(encoding="utf-8", newline="") as file:
        return {row["arch"]: np.float32(row[column]) for row in csv.DictReader(file)}


def test_what_is_found_is_looked_up_and_nothing_selects_by_it(tables: Path, tmp_path: Path) -> None:
    found: dict[str, dict[str, Record]] = {}
    for column in (UP, DOWN):  # the second says the opposite of the first
        folder = tmp_path / column
        folder.mkdir()
        table = {"file": str(tables / "all.csv"), "accuracy": column, "validation": VALID}
        short = {"evaluations": 12}
        baselines = {"RandomGenotype": {}, "RandomSearch": short, "RegularisedEvolution": short}
        assert start(folder, table=table, baselines=baselines if column == UP else {"RandomSearch": short}) == 0
        found[column] = {record.variant: record for record in read_results(folder / "runs")}
        truth, root = known(tables, column), folder / "runs"
        for record in found[column].values():
            genotype = Run(root / record.folder / "search").genotype()
            accuracy = truth[genotype.to_nasbench201()]
            better = sum(other > accuracy for other in truth.values())
            assert record.score == pytest.approx(float(accuracy))
            assert record.held["score"]["name"] == "truth/accuracy"
            assert record.held["metrics"]["truth"] == pytest.approx(
                {"truth/accuracy": accuracy, "truth/regret": max(truth.values()) - accuracy, "truth/rank": 1 + better}
            )
            assert read_json(root / record.folder / "search" / "truth.json") == record.held["truth"]
            assert record.held["truth"]["of"] == 15625
        rows = (root / found[column]["DARTS"].folder / "search" / "metrics.csv").read_text(encoding="utf-8")
        assert "truth/accuracy" in rows.splitlines()[0]
    for variant in ("DARTS", "RandomSearch"):
        assert found[UP][variant].held["genotype"] == found[DOWN][variant].held["genotype"]
        assert found[UP][variant].score != found[DOWN][variant].score
    asked, truth = known(tables, VALID), known(tables, UP)
    for variant in ("RandomSearch", "RegularisedEvolution"):
        search = tmp_path / UP / "runs" / found[UP][variant].folder / "search"
        trace = read_json(search / "trace.json")
        assert (trace["unit"], trace["planned"], trace["metric"]) == ("queries", 12, VALID)
        strings = [genotype_string(one["genotype"]) for one in trace["observations"]]
        assert [one["score"] for one in trace["observations"]] == pytest.approx([float(asked[s]) for s in strings])
        assert [one["truth/accuracy"] for one in trace["observations"]] == pytest.approx(
            [float(truth[s]) for s in strings]
        )
        assert [one["spent"] for one in trace["observations"]] == list(range(1, 13))
        assert Run(search).genotype().to_nasbench201() == max(strings, key=lambda one: asked[one])


def genotype_string(text: str) -> str:
    from robustnas.spaces import Genotype

    return Genotype.from_text(text).to_nasbench201()


def test_a_table_that_misses_what_was_found_fails_that_cell(tables: Path, tmp_path: Path, capsys: Any) -> None:
    table = {"file": str(tables / "one.csv"), "accuracy": UP}
    assert start(tmp_path, table=table, variants=VARIANT, baselines=["RandomGenotype"], seeds=[0]) == 1
    error = json.loads(next((tmp_path / "runs").rglob("failure.json")).read_text(encoding="utf-8"))["error"]
    assert error.startswith(
        f"Expected {tables / 'one.csv'} to hold '{UP}' of every architecture, but it has none of NASBench201 "
    )
    assert "\n" not in error


VARIANT = {"DARTS": {"config": "digits_darts_second_order.yaml", "options": {"model.init_args.gradient": "FirstOrder"}}}


def test_a_table_that_does_not_fit_is_said_at_the_start(
    tables: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    rows = [
        ({"table": "nowhere.csv"}, "Expected `table.file` to be 'digits', or a CSV or Parquet file beside "),
        ({"table": {"accuracy": "x"}}, "Expected `table` to have a `file`, `accuracy` and `validation`, but got {'ac"),
        ({"table": {"file": "one.csv", "accuracy": "top1"}}, "to have the column 'top1', but got ['up_test_200', "),
        ({"common": {"model.init_args": {"space": "S1", "cells": None}}}, "architectures of S1, but got those of NASB"),
        ({"baselines": ["RandomSearch"], "table": {"file": "one.csv", "accuracy": VALID}}, "RandomSearch may query"),
        ({"baselines": ["ResNet"]}, "Expected `evaluation`, whose recipe ResNet is trained with, but got none"),
        ({"score": "test/top1"}, "Expected `evaluation`, since `score` is test/top1, but got none"),
    ]  # fmt: skip

    def check(row: tuple[Any, str]) -> None:
        changed, sentence = row
        tmp_path = tmp_path_factory.mktemp("row")
        (tmp_path / "one.csv").write_text((tables / "one.csv").read_text(encoding="utf-8"), encoding="utf-8")
        table = {"file": "one.csv", "accuracy": UP}
        assert start(tmp_path, **{"table": table, "baselines": ["RandomGenotype"], **changed}) == 1
        said = capsys.readouterr().err
        assert sentence in said, said
        assert said.startswith("robustnas: Expected ")
        assert said.count("\n") == 1
        assert not (tmp_path / "runs").exists()

    check_each(rows, check)


def test_the_column_that_baselines_ask_is_one_of_validation(tmp_path: Path) -> None:
    assert (StudyTable("t").queried, StudyTable("t").epochs) == ("cifar10_valid_12", 12)
    assert (StudyTable("t", "cifar100_test_200", "mine").queried, StudyTable("t", "x", "mine").epochs) == ("mine", None)
    assert StudyTable("t", "accuracy").queried is None
