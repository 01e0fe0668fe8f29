"""Sizes beyond the memory or time of any machine are refused by name, with the limit, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made import write_folders
from refusals import MODEL, QUIET, SEARCH, check_refusals

from robustnas.data import ImageFolder
from robustnas.networks import Supernet, config
from robustnas.networks.resnet import ResNet
from robustnas.studies.grid import trials_of
from robustnas.studies.pool import pool_of
from robustnas.studies.study import read_study

BILLION = 10**9
DARTS = ["fit", "--model=DARTS", "--model.space=S1", "--data=Digits", *QUIET]
OPTIONS: dict[str, tuple[list[str], str]] = {
    "channels": ([*SEARCH, f"--model.channels={BILLION}"], "Expected a network of `channels` = 1000000000 and `num_"),
    "cells": ([*SEARCH, f"--model.cells={BILLION}"], "Expected `cells` to be at most 200, but got 1000000000."),
    "layers": ([*DARTS, f"--model.layers={BILLION}"], "Expected `layers` to be at most 200, but got 1000000000."),
    "num_classes": ([*SEARCH, f"--model.num_classes={BILLION}"], "Expected "),
    "image_size": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=.", f"--data.image_size={BILLION}", *QUIET],
        "Expected `image_size` to be at most 4096, but got 1000000000.",
    ),
    "batch_size": ([*SEARCH, f"--data.batch_size={BILLION}"], "Expected `batch_size` to give at least one full batch"),
    "devices": ([*SEARCH, f"--trainer.devices={BILLION}"], "Expected `--trainer.devices` to start at most 16,384"),
    "profile --batch": (["profile", "-c", "x", f"--batch={BILLION}"], "Expected `--batch` to be from 1 to 65,536, but"),
    "profile --repeats": (
        ["profile", "-c", "x", f"--repeats={BILLION}"],
        "Expected `--repeats` to be from 1 to 10,000",
    ),
    "profile --threads": (["profile", "-c", "x", f"--threads={BILLION}"], "Expected `--threads` to be from 1 to 1,02"),
    "4,400 digits": ([*SEARCH, f"--model.channels={'9' * 4400}"], "Expected `channels` to be int, but got "),
    "4,400 digits of a seed": (["quickstart", f"--seed={'9' * 4400}"], "Expected `--seed` to be int, but got "),
    "an overflow": (
        [*SEARCH, "--model.arch_lr=1e999"],
        "Expected `model.init_args.arch_lr` to be a finite number, ",
    ),
    "infinity": ([*SEARCH, "--model.clip=.inf"], "Expected `model.init_args.clip` to be a finite number, but got inf."),
    "infinity of the trainer": (
        [*SEARCH, "--trainer.val_check_interval=.inf"],
        "Expected `trainer.val_check_interval`",
    ),
    "a list for a space": ([*SEARCH, "--model.space=[1, [2]]"], "Expected `space` to be one of ['DARTS', "),
    "a number for a space": ([*SEARCH, "--model.space=1"], "Expected `space` to be one of ['DARTS', "),
    "a mapping for a space": ([*SEARCH, "--model.space={a: 1}"], "Expected `space` to be one of ['DARTS', "),
}


def test_a_billion_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refusals(OPTIONS, tmp_path, capsys, monkeypatch, longest=2500)


def test_a_network_is_refused_by_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[str, int | None] = {"total": 2**40, "limit": 2**22, "available": None, "shared": None}
    monkeypatch.setattr(config, "memory", lambda: held)
    with pytest.raises(ValueError, match=r"`channels` = 400 .* of this machine, 4,194,304 bytes, but its [\d,]+ w"):
        Supernet("NASBench201", channels=400, cells=1)
    with pytest.raises(ValueError, match=r"and `num_classes` = 10000 to fit into the memory"):
        ResNet(400, 1, num_classes=10_000)
    with pytest.raises(ValueError, match="to fit into memory, but its weights cannot be counted"):
        Supernet("S1", channels=2**40, layers=3)
    with torch.device("meta"):  # takes none
        Supernet("NASBench201", channels=400, cells=1)


def test_counting_leaves_the_initial_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    for certain in (0, 2**62):  # counted, and not
        monkeypatch.setattr(config, "CERTAIN", certain)
        torch.manual_seed(0)
        networks.append(Supernet("NASBench201", channels=4, cells=1).state_dict())
    assert all(torch.equal(networks[0][name], weight) for name, weight in networks[1].items())


def test_a_grid_is_counted_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    parts = ", ".join(f"p{k}: {{model.a{k}: 1}}" for k in range(60))
    variants = "variants: {A: {options: {model: DARTS}}}"
    path.write_text(f"{variants}\nablation_factors: {{{parts}}}\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"Expected a study to have at most 100,000 trials, but .* combine to 3e\+18\."
    ):
        trials_of(read_study(str(path)))


def test_links_in_a_folder_of_images_end(tmp_path: Path) -> None:
    write_folders(tmp_path, each=8)
    (tmp_path / "class0" / "self").symlink_to(tmp_path / "class0")
    (tmp_path / "class1" / "loop.png").symlink_to("loop.png")
    (tmp_path / "loop").symlink_to("loop")
    data = ImageFolder(root=tmp_path)
    data.setup("fit")
    assert sum(role["size"] for role in data.describe()["roles"].values()) == 16


def test_workers_are_limited() -> None:
    with pytest.raises(ValueError, match=r"Expected `--workers` to be at most 1024, but got 1000000000\."):
        pool_of([], BILLION, None, 1)
