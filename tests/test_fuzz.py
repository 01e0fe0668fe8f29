"""Files that were changed at random are read, or refused in one sentence, in seconds; there is never a traceback.

By default some tens of changes of each kind are tried, always the same; ``-m slow`` tries thousands.
"""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import VALUES, as_json, changed, replaced
from pytorch_lightning import Trainer
from refusals import short_search

from robustnas.analysis import History, judge
from robustnas.analysis.foreign import read_foreign
from robustnas.cli.configuration import configuration
from robustnas.runs.record import Run, read_genotype
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.spaces import NASBench201, find_space
from robustnas.studies.grid import trials_of
from robustnas.studies.study import read_study
from robustnas.tabular import Table
from robustnas.training import SearchModule, load
from robustnas.training.checkpointing import check_checkpoint

SECONDS = 5  # of processor time, for one file: what takes milliseconds is far from it on every machine
FEW, MANY = 40, 2000

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
STUDY = b"""name: small
variants:
  DARTS: {options: {model: DARTS, model.space: NASBench201}}
  GDAS: {options: {model: GDAS}}
spaces: {S1: {model.space: S1}, S2: {model.space: S2}}
overrides: &o {lr: {low: {model.lr: 0.01}, high: {model.lr: 1e-1}}}
parts: {decay: {model.weight_decay: 0.1}}
design: add_one
seeds: [0, 1]
baselines: [RandomGenotype]
published: {DARTS: {mean: 54.3, std: 0.1, source: "a paper"}}
"""
CONFIG = {
    "seed_everything": 1, "checkpoint_every": 0, "run_dir": None, "matmul_precision": None,
    "model": {"class_path": "DARTS", "init_args": {
        "space": "NASBench201", "channels": 2, "cells": 1, "lr": 0.1, "arch_betas": [0.5, 0.999], "nesterov": False,
        "selection": {"class_path": "Strongest"},
        "stopping": {"class_path": "CurvatureRise", "init_args": {"ratio": 1.3}},
    }},
    "data": {"class_path": "Digits", "init_args": {"batch_size": 16, "fractions": [0.06, 0.04, 0.04], "seed": 0}},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "callbacks": None},
}  # fmt: skip


def refused_or_read(read: Callable[[], object]) -> bool:
    """Read, and hold what comes of it to one sentence and to seconds; whether it was read."""
    start = time.process_time()
    said = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
    except ValueError as error:
        if not str(error).startswith("Expected "):
            raise
        said = str(error).strip()
    except OSError as error:  # such as that of a name that is too long, which the command line says in a sentence
        if error.strerror is None:
            raise
        said = error.strerror
    assert said is None or "\n" not in said
    assert time.process_time() - start < SECONDS
    return said is None


def fuzz(strategy: st.SearchStrategy[Any], read: Callable[[Any], object], examples: int) -> None:
    """Try a number of files, always the same ones."""

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def one(content: Any) -> None:
        refused_or_read(lambda: read(content))

    one()


EXAMPLES = [
    pytest.param(FEW, id="few"),
    pytest.param(MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(0)]),
]
many = pytest.mark.parametrize("examples", EXAMPLES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    return short_search(tmp_path_factory.mktemp("fuzz") / "run")


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@many
def test_yaml(examples: int, run: Path, tmp_path: Path) -> None:
    files = (run / "config.yaml").read_bytes(), STUDY, b"a: &a {x: 1}\nb: [*a, {<<: *a}]\nc: 'x'\n# c\n"
    fuzz(changed(*files), lambda data: read_yaml(written(tmp_path / "a.yaml", data)), examples)


@many
def test_studies(examples: int, tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        trials_of(read_study(str(written(tmp_path / "study.yaml", data))))

    fuzz(st.one_of(changed(STUDY), replaced(yaml.safe_load(STUDY)).map(as_json)), read, examples)


@many
def test_configurations(examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def read(data: bytes) -> None:
        configuration(["-c", str(written(tmp_path / "config.yaml", data))])

    fuzz(st.one_of(replaced(CONFIG).map(as_json), changed(as_json(CONFIG))), read, examples // 4)


@many
def test_genotypes(examples: int, run: Path, tmp_path: Path) -> None:
    text = (run / "genotype.json").read_bytes()

    def read(data: bytes) -> None:
        genotype = read_genotype(str(written(tmp_path / "genotype.json", data)))
        genotype.validate(find_space(genotype.space))

    fuzz(st.one_of(changed(text), replaced(json.loads(text)).map(as_json)), read, examples)


@many
def test_genotypes_as_text(examples: int) -> None:
    lines = [GENOTYPE.encode(), str(read_genotype(GENOTYPE)).encode()]

    def read(data: bytes) -> None:
        read_genotype(data.decode("utf-8", "surrogateescape").replace("\0", ""))

    fuzz(changed(*lines), read, examples)


def history() -> dict[str, np.ndarray]:
    return {"cell": np.random.default_rng(0).normal(size=(4, 6, 5))}


@many
def test_histories_in_csv(examples: int, tmp_path: Path) -> None:
    edges = NASBench201.cells["cell"].edges
    names = [f"cell/{edge.name}/{operation}" for edge in edges for operation in edge.operations]
    rows = [f"{epoch}," + ",".join(map(str, alpha.ravel())) for epoch, alpha in enumerate(history()["cell"])]
    wide = "\n".join([",".join(["epoch", *names]), *rows, ""])
    long = "epoch,kind,edge,operation,alpha\n" + "".join(
        f"{epoch},cell,{edge.name},{operation},{epoch / 10}\n"
        for epoch in range(2)
        for edge in edges
        for operation in edge.operations
    )

    def read(data: bytes) -> None:
        judge(read_foreign(written(tmp_path / "alpha.csv", data), "NASBench201"))

    fuzz(changed(wide.encode(), long.encode()), read, examples)


@many
def test_histories_in_npz(examples: int, tmp_path: Path) -> None:
    files = []
    for save in (np.savez, np.savez_compressed):
        for arrays in (history(), {f"epoch_{e:04d}/cell": alpha for e, alpha in enumerate(history()["cell"])}):
            save(file := io.BytesIO(), **arrays)  # type: ignore[arg-type]
            files.append(file.getvalue())

    def read(data: bytes) -> None:
        judge(read_foreign(written(tmp_path / "alpha.npz", data), "NASBench201"))

    fuzz(changed(*files), read, examples)


@many
def test_tables(examples: int, tmp_path: Path) -> None:
    text = f'index,arch,valid,test\n0,{GENOTYPE},90.5,91\n1,"{GENOTYPE.replace("none", "skip_connect")}",80,\n'
    fuzz(changed(text.encode()), lambda data: Table.read(written(tmp_path / "table.csv", data)), examples)


@many
def test_labels(examples: int, tmp_path: Path) -> None:
    from made import write_table

    from robustnas.data import ImageFolder

    labels = write_table(tmp_path / "images", multilabel=False, count=6)
    right = labels.read_bytes()

    def read(data: bytes) -> None:
        labels.write_bytes(data)
        ImageFolder(root=tmp_path / "images", labels=labels, task="regression", cache_dir=tmp_path / "c").setup("fit")

    fuzz(changed(right), read, examples)


def in_a_run(run: Path, name: str, tmp_path: Path) -> Callable[[bytes], None]:
    """Reads the verdict on a run in which one file is another."""
    copy = tmp_path / "run"
    for path in run.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".csv", ".npz"):
            target = copy / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    (copy / name).unlink()

    def read(data: bytes) -> None:
        written(copy / name, data)
        judge(History.of_run(copy))
        Run(copy).manifest  # noqa: B018

    return read


@many
@pytest.mark.parametrize("name", ["manifest.json", "genotype.json", "metrics.csv", "alpha/epoch_0000.npz"])
def test_run_folders(examples: int, name: str, run: Path, tmp_path: Path) -> None:
    right = (run / name).read_bytes()
    strategy: st.SearchStrategy[bytes] = changed(right)
    if name.endswith(".json"):
        strategy = st.one_of(strategy, replaced(json.loads(right)).map(as_json))
    fuzz(strategy, in_a_run(run, name, tmp_path), examples)


TENSORS = [
    torch.zeros(0), torch.zeros(1).expand(10**12), torch.full((6, 5), torch.nan), torch.zeros(6, 5, dtype=torch.int8),
    torch.zeros(10**12, device="meta"), torch.sparse_coo_tensor([[0]], [1.0], (10**12,)),
]  # fmt: skip


@many
def test_checkpoints(examples: int, run: Path, tmp_path: Path) -> None:
    right = (run / "last.ckpt").read_bytes()
    module, content = load(run / "last.ckpt", SearchModule), torch.load(run / "last.ckpt", weights_only=True)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")

    def saved(value: Any) -> bytes:
        torch.save(value, file := io.BytesIO())
        return file.getvalue()

    def read(data: bytes) -> None:
        path = written(tmp_path / "last.ckpt", data)
        if refused_or_read(lambda: load(path, SearchModule)):
            check_checkpoint(path, module, trainer)

    values = [value for value in VALUES if not (isinstance(value, int) and value.bit_length() > 2000)]
    strategy = st.one_of(changed(right), replaced(content, [*values, *TENSORS]).map(saved))
    fuzz(strategy, read, examples // 2)
