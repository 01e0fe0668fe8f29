"""``robustnas select`` refuses a wrong command in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from refusals import short_search

from robustnas.__main__ import main
from robustnas.spaces import S2, NASBench201, decode
from robustnas.tabular import Table

DROP = ["--selection", "LargestDrop"]


def wrong(searched: Path, tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    torch.save({"a": 1}, tmp_path / "other.ckpt")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "last.ckpt").write_bytes((searched / "last.ckpt").read_bytes())
    run, table, other = str(searched), tmp_path / "table.csv", tmp_path / "s2.csv"
    for path, space in ((table, NASBench201), (other, S2)):
        Table.of([decode(0, space)], {"top1": [1.0]}, "made", space).write(path)
    return {
        "no checkpoint": (["nowhere"], "Expected `path` to be a checkpoint, but there is no file nowhere."),
        "other file": ([str(tmp_path / "other.ckpt")], f"Expected {tmp_path}/other.ckpt to be a checkpoint of"),
        "unknown rule": (
            [run, "--selection", "LargestDrp"],
            "Expected `selection` to be the name or import path of a class that fits, but got 'LargestDrp'; "
            "did you mean `LargestDrop`?",
        ),
        "unknown option": (
            [run, *DROP, "--selection.finetun=2"],
            "Expected an option of LargestDrop, but got `finetun`; did you mean `finetune`?",
        ),
        "wrong option": (
            [run, *DROP, "--selection.finetune=-1"],
            "Expected `finetune` to be at least 0, but got -1.",
        ),
        "options for nothing": (
            [run, "--trainer.accelerator=cpu"],
            "Expected no options of `robustnas fit`, since Strongest does not train, but got --trainer.accelerator=cpu",
        ),
        "the same folder": (
            [run, "-o", run],
            "Expected `--run-dir` to be another folder than that of the search, but got",
        ),
        "a compared option that no rule has": (
            [run, "--compare", "--selection.finetune=0"],
            "Expected an option of BestOfSampled, but got `finetune`",
        ),
        "a compared option that does not fit": (
            [run, "--compare", "--selection.samples=0"],
            "Expected `samples` to be at least 1, but got 0.",
        ),
        "one rule and all": (
            [run, "--compare", "--selection=BestOfSampled"],
            "Expected `--selection` or `--compare`, but got both, with BestOfSampled.",
        ),
        "a column without a table": (
            [run, "--compare", "--accuracy=top1"],
            "Expected `--accuracy` to be given with `--table`, but got 'top1' alone.",
        ),
        "a table of another space": (
            [run, "--compare", "--table", str(other), "--accuracy=top1"],
            f"Expected {other} to hold architectures of NASBench201, but got those of S2.",
        ),
        "a table without the column": (
            [run, "--compare", "--table", str(table), "--accuracy=top5"],
            f"Expected {table} to have the column 'top5', but got ['top1'].",
        ),
        "no table": (
            [run, "--compare", "--table=gone.csv"],
            "Expected gone.csv to be ",
        ),
        "a table for one rule": (
            [run, "--table", str(table)],
            "Expected `--compare` with `--table` and `--accuracy`, but got none.",
        ),
        "data with other roles": (
            [run, "--selection=BestOfSampled", "--data.split_seed=1"],
            "Expected the roles to be those of the checkpoint, but got other samples for ['weights', 'arch', ",
        ),
        "no configuration to evaluate with": (
            [str(alone), "--compare"],
            f"Expected {alone}/config.yaml to be a configuration in YAML, but reading it fails: No such file",
        ),
        "no configuration": (
            [str(alone), *DROP],
            f"Expected {alone}/config.yaml to be a configuration in YAML, but reading it fails: No such file",
        ),
    }


def test_a_wrong_command_is_named_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case, (words, says) in wrong(short_search(tmp_path / "run"), tmp_path).items():
        assert main(["select", *words]) == 1, case
        error = capsys.readouterr().err
        assert error.startswith(f"robustnas: {says}"), case
        assert len(error.strip().splitlines()) == 1, case
