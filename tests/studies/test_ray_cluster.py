"""Protects what the Ray engine makes of a cluster and of its options; Ray itself need not be there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tables import check_each

from robustnas.__main__ import main
from robustnas.runtime import trust
from robustnas.studies import ray_engine
from robustnas.studies.ray_engine import RayEngine, ray_engine_of
from robustnas.studies.ray_host import Host

HERE = Path(__file__).parent
CPUS, GPUS = [(8.0, 0.0), (3.0, 0.0)], [(16.0, 4.0), (8.0, 0.0)]


def test_workers_fill_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (CPUS, {}, (11, 1, 0, 1)),
        (CPUS, {"cpus": 2}, (5, 2, 0, 2)),
        (CPUS, {"threads": 4}, (2, 4, 0, 4)),
        (CPUS, {"cpus": 0.5, "workers": 3}, (3, 0.5, 0, 1)),
        (CPUS, {"gpus": 1, "workers": 2}, (2, 1, 1, 1)),  # for nodes that are yet to come
        (GPUS, {}, (4, 4, 1, 4)),
        (GPUS, {"gpus": 0.25}, (16, 1, 0.25, 1)),
        (GPUS, {"gpus": 0.4, "cpus": 1}, (8, 1, 0.4, 1)),  # two on each: a part is of one GPU
        (GPUS, {"gpus": 2}, (2, 8, 2, 8)),
        (GPUS, {"gpus": 0}, (24, 1, 0, 1)),
    ]

    def check(row: tuple[Any, Any, Any]) -> None:
        nodes, given, wanted = row
        pretend(nodes, monkeypatch)
        engine = ray_engine_of(None, **given)
        assert (engine.workers, engine.cpus, engine.gpus, engine.threads) == wanted
        assert engine.slots == wanted[0]

    check_each(rows, check)


def test_what_no_cluster_can_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ({"gpus": 1.5}, "Expected `--gpus-per-trial` to be a part of 1, or a whole number, but got 1.5"),
        ({"gpus": -1}, "Expected `--gpus-per-trial` to be .*, but got -1"),
        ({"cpus": 0}, "Expected `--cpus-per-trial` to be larger than 0, but got 0"),
        ({"workers": 0}, "Expected `--workers` to be larger than 0, but got 0"),
        ({"gpus": 1}, "Expected a node .* 1 CPUs and 1 GPUs for a trial, but they have 8 and 0 or 3 and 0"),
        ({"cpus": 9}, "Expected a node of the cluster to have 9 CPUs and 0 GPUs"),
    ]

    def check(row: tuple[Any, str]) -> None:
        given, sentence = row
        pretend(CPUS, monkeypatch)
        with pytest.raises(ValueError, match=sentence):
            ray_engine_of(None, **given)

    check_each(rows, check)


def pretend(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        is_initialized = staticmethod(lambda: True)

    monkeypatch.setattr(ray_engine, "ray_module", Library)
    monkeypatch.setattr(ray_engine, "join", lambda address, cpus: None)
    monkeypatch.setattr(ray_engine, "node_resources", lambda: nodes)


def test_the_command_says_that_ray_is_missing_or_that_an_option_is_not_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["ablate", str(HERE / "tiny.yaml"), "--folder", str(tmp_path / "study")]
    for words, sentence in (
        (["--engine", "ray"], "Expected Ray for `--engine ray`, but it is not installed; `pip install robustnas[ray]`"),
        (
            ["--engine", "ray", "--runs-per-gpu", "2"],
            "Expected `--runs-per-gpu` with `--engine local`, but got --engine",
        ),
        (["--gpus-per-trial", "0.25"], "Expected `--gpus-per-trial` with `--engine ray`, but got --engine local"),
    ):
        assert main([*command, *words]) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_workers_are_given_what_the_command_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Any, ...]] = []

    class Actor:
        report = type("report", (), {"remote": staticmethod(lambda mark: object())})

    class Remote:
        def __init__(self, kind: type) -> None:
            assert kind is Host

        def options(self, **options: Any) -> Any:
            return self

        def remote(self, *arguments: Any) -> Any:
            given.append(arguments)
            return Actor

    library = type("Library", (), {"remote": Remote})
    with trust.trusting(["ablate", "study.yaml", "--trust=my_part"]):
        ray_engine._Actors(library, RayEngine(1), None).start(1)
        ((environment, working),) = given
        assert "my_part" in environment["ROBUSTNAS_TRUST"].split(",")
    assert working == os.getcwd()
