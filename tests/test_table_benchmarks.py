"""Benchmarks as they are published, in small: their layouts, and what would execute code in them."""

from __future__ import annotations

import bz2
import pickle
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustnas.__main__ import main
from robustnas.runs.record import Run
from robustnas.spaces import Genotype, NASBench201, random_genotype
from robustnas.tabular import Table
from robustnas.tabular.benchmarks import COLUMNS, convert

EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
ARCHITECTURES = [random_genotype(NASBench201, random.Random(seed)).to_nasbench201() for seed in range(6)]


def accuracy(index: int, data: str, part: str, seed: int, epochs: int, epoch: int) -> float:
    """A number that tells where it comes from."""
    return float(np.random.default_rng([index, *map(ord, data + part), seed, epochs, epoch]).uniform(10, 95))


def run(index: int, data: str, seed: int, epochs: int) -> dict[str, Any]:
    """One training, as ``ResultsCount.state_dict`` has it."""
    names = [f"{part}@{epoch}" for part in EVALUATED[data] for epoch in range(epochs - 2, epochs)]
    split = [(*name.split("@"),) for name in names]
    times = OrderedDict((epoch, np.float64(1.5)) for epoch in range(2))  # numbers of numpy, as means are
    return {
        "name": data, "net_state_dict": None, "train_acc1es": {0: 20.0}, "train_acc5es": None, "train_losses": {0: 2.0},
        "train_times": times, "arch_config": {"channel": 16, "num_cells": 5, "arch_str": ARCHITECTURES[index]},
        "params": 0.07, "flop": 7.8, "seed": seed, "epochs": epochs, "latency": [np.float32(0.01)],
        "eval_names": list(EVALUATED[data]), "eval_losses": {},
        "eval_times": dict.fromkeys(names, 0.5),
        "eval_acc1es": {
            f"{part}@{epoch}": accuracy(index, data, part, seed, epochs, int(epoch)) for part, epoch in split
        },
    }  # fmt: skip


def results(index: int, epochs: int) -> dict[str, Any]:
    """An architecture, as ``ArchResults.state_dict`` has it: three runs of one length on CIFAR-10, two elsewhere."""
    seeds = {data: [777, 888, 999][: 3 if data == "cifar10" else 2] for data in EVALUATED}
    return {
        "arch_index": index, "arch_str": ARCHITECTURES[index], "dataset_seed": seeds, "clear_net_done": True,
        "all_results": {(data, seed): run(index, data, seed, epochs) for data in seeds for seed in seeds[data]},
    }  # fmt: skip


def published(names: tuple[str, str], count: int = 6) -> dict[str, Any]:
    infos = {k: OrderedDict({names[0]: results(k, 12), names[1]: results(k, 200)}) for k in range(count)}
    return {"meta_archs": ARCHITECTURES, "total_archs": 6, "arch2infos": infos, "evaluated_indexes": set(range(count))}


def pack(path: Path, content: Any, protocol: int = 4) -> None:
    path.write_bytes(bz2.compress(pickle.dumps(content, protocol)))


def write(folder: Path, form: str) -> Path:
    path = folder / form
    if form == "NATS-tss-v1_0-3ffb9-simple":
        path.mkdir()
        pack(path / "meta.pickle.pbz2", {"meta_archs": ARCHITECTURES, "evaluated_indexes": set(range(6))})
        for index in range(6):
            pack(path / f"{index:06d}.pickle.pbz2", {"12": results(index, 12), "200": results(index, 200)})
    elif form.endswith(".pbz2"):
        data = pickle.dumps(published(("12", "200")), 2)  # as written with a numpy before 2
        path.write_bytes(bz2.compress(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")))
    else:
        torch.save(published(("less", "full")), path, _use_new_zipfile_serialization="v1_0" not in form)
        if "v1_0" in form:  # not packed, so that the names of numpy before 2 can be put in
            path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return path


FORMS = [
    "NATS-tss-v1_0-3ffb9-simple",
    "NATS-tss-v1_0-3ffb9.pickle.pbz2",
    "NAS-Bench-201-v1_0-e61699.pth",
    "NAS-Bench-201-v1_1-096897.pth",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_published_file_becomes_a_table_of_means(tmp_path: Path, form: str) -> None:
    steps: list[tuple[int, int]] = []
    table = convert(write(tmp_path, form), lambda done, of: steps.append((done, of)))
    assert steps == [(k, 6) for k in range(1, 7)]
    assert set(table.columns) == {f"{column}_{epochs}" for column in COLUMNS for epochs in (12, 200)}
    assert {one.to_nasbench201() for one in table} == set(ARCHITECTURES)
    wanted = {  # as the benchmark's own code reads its sets
        "cifar10_test": ("cifar10", "ori-test", (777, 888, 999)),
        "cifar10_valid": ("cifar10-valid", "x-valid", (777, 888)),
        "cifar100_test": ("cifar100", "x-test", (777, 888)),
        "cifar100_valid": ("cifar100", "x-valid", (777, 888)),
        "imagenet16_120_test": ("ImageNet16-120", "x-test", (777, 888)),
        "imagenet16_120_valid": ("ImageNet16-120", "x-valid", (777, 888)),
    }
    for column, (data, part, seeds) in wanted.items():
        for epochs in (12, 200):
            for index, text in enumerate(ARCHITECTURES):
                runs = [accuracy(index, data, part, seed, epochs, epochs - 1) for seed in seeds]
                assert table.accuracy(text, f"{column}_{epochs}") == pytest.approx(np.mean(runs), rel=1e-6)


def test_what_a_file_lacks_is_left_out(tmp_path: Path) -> None:
    """Version 1.0 has short trainings on one split alone, and some architectures may not have been trained at all."""
    content = published(("less", "full"))
    for index, infos in content["arch2infos"].items():
        kept = {key: run for key, run in infos["less"]["all_results"].items() if key[0] == "cifar10-valid"}
        infos["less"] |= {"all_results": kept, "dataset_seed": {"cifar10-valid": [777, 888]}}
        if index == 2:
            infos["full"]["dataset_seed"].pop("cifar100")
    torch.save(content, tmp_path / "b.pth")
    table = convert(tmp_path / "b.pth")
    assert [name for name in table.columns if name.endswith("_12")] == ["cifar10_valid_12"]
    with pytest.raises(ValueError, match="to hold 'cifar100_test_200' of every architecture"):
        table.accuracy(ARCHITECTURES[2], "cifar100_test_200")
    assert table.rank(ARCHITECTURES[1], "cifar100_test_200").of == 5


class Evil:
    """Makes a folder when it is unpickled by what does not look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["evil.pickle.pbz2", "evil.pth", "old.pth", "folder"])
def test_code_in_a_file_is_not_executed(tmp_path: Path, form: str) -> None:
    content, path = {"arch2infos": {0: Evil(tmp_path / "made")}}, tmp_path / form
    if form == "folder":
        path.mkdir()
        pack(path / "000000.pickle.pbz2", content)
    elif form.endswith("pbz2"):
        pack(path, content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "evil.pth")
    with pytest.raises(
        ValueError, match=r"^Expected .* as plain data, but reading it fails: .*(posix|nt)\.mkdir"
    ) as caught:
        convert(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    def refused(name: str, words: str) -> None:
        with pytest.raises(ValueError, match=words) as caught:
            convert(tmp_path / name)
        assert "\n" not in str(caught.value)

    (tmp_path / "cut.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(list(range(1000))))[:-20])
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    refused("missing.pth", "missing.pth to hold a benchmark as plain data, but reading it fails: No such file")
    refused("missing.pickle.pbz2", "but reading it fails: No such file")
    refused("cut.pickle.pbz2", "but reading it fails: ")
    refused("text.pth", "but reading it fails: ")
    refused("empty", "to be a folder of NATS-Bench with files like 000000.pickle.pbz2, but got none")
    refused("table.xlsx", r"^Expected a file of NAS-Bench-201 \(\.pth\) or NATS-Bench")
    pack(tmp_path / "list.pickle.pbz2", [1, 2])
    refused("list.pickle.pbz2", "to hold `arch2infos`, as the benchmark's file does, but got list")
    shape = {**results(0, 12), "arch_str": "16:24:32:40:48"}  # the other space of NATS-Bench
    pack(tmp_path / "sss.pickle.pbz2", {"arch2infos": {0: {"12": shape}}})
    refused("sss.pickle.pbz2", "to hold the topology space of NAS-Bench-201 or NATS-Bench, but entry 1 is not of it")
    pack(tmp_path / "short.pickle.pbz2", {"arch2infos": {0: {"12": {**results(0, 12), "dataset_seed": {}}}}})
    refused("short.pickle.pbz2", "to hold accuracies after 12 or 200 epochs, but got none")


def test_the_command_makes_tables_and_looks_them_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path, FORMS[0]), tmp_path / "made.parquet"
    assert main(["table", "convert", str(source), "--out", str(out)]) == 0
    table = Table.read(out)
    said = capsys.readouterr().out
    assert f"Table: {out}" in said.replace("\n", "")
    assert "6 architectures of NASBench201" in said
    genotype = Genotype.from_nasbench201(ARCHITECTURES[3])
    Run(tmp_path / "run").write_genotype(genotype)
    for asked in (ARCHITECTURES[3], str(genotype), str(tmp_path / "run")):
        assert main(["table", "show", str(out), asked]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if " cifar100_test_200 " in line)
        figures = [part.strip() for part in line.split("│")[2:-1]]
        column, rank = "cifar100_test_200", table.rank(genotype, "cifar100_test_200").place
        numbers = [table.accuracy(genotype, column), table.regret(genotype, column)]
        ends = [table.best(column).accuracy, table.mean(column)]
        assert figures == [*(f"{x:.2f}" for x in numbers), f"{rank} of 6", *(f"{x:.2f}" for x in ends)]
    assert main(["table", "convert", str(out), "--out", str(tmp_path / "made.csv")]) == 0
    assert list(Table.read(tmp_path / "made.csv").columns) == list(table.columns)
    capsys.readouterr()
    unknown = next(one for seed in range(99) if (one := random_genotype(NASBench201, random.Random(seed))) not in table)
    for words in (
        ["show", str(out), unknown.to_nasbench201()],
        ["convert", str(source), "--out", str(tmp_path / "t.txt")],
    ):
        assert main(["table", *words]) == 1
        said = capsys.readouterr().err
        assert said.startswith("robustnas: Expected ")
        assert said.count("\n") == 1
