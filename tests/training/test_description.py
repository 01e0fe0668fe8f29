"""Modules as plain data and back; files from elsewhere build nothing that was not asked for, and execute nothing."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from robustnas.variants import DARTS
from runs import fit, search
from tables import check_each

from robustnas.networks import Mixture
from robustnas.spaces import NASBench201, SearchSpace
from robustnas.strategies import FirstOrder, Softmax, Unrolled, UnrolledByDifferences
from robustnas.training.description import KEY, build, describe, load
from robustnas.training.search import SearchModule

SMALL = {"space": "NASBench201", "cells": 1, "channels": 2, "num_classes": 3}


@pytest.mark.parametrize("gradient", [FirstOrder(), Unrolled(), UnrolledByDifferences(0.3)])
def test_a_description_is_plain_json_and_builds_an_equal_module(gradient) -> None:
    module = DARTS(gradient, relaxation=Softmax(0.5), arch_betas=(0.1, 0.2), seed=5, **SMALL)
    description = json.loads(json.dumps(module.description))
    assert description == module.description
    assert description["class_path"] == "robustnas.variants.darts.DARTS"
    again = build(description, SearchModule)
    assert type(again) is DARTS
    assert again.description == description
    assert again.gradient == gradient
    assert again.relaxation == Softmax(0.5)
    assert again.arch_betas == (0.1, 0.2)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), module.parameters(), strict=True))


def test_the_base_class_describes_itself() -> None:
    module = SearchModule(gradient=Unrolled(), **SMALL)
    assert module.description["class_path"] == "robustnas.training.search.SearchModule"
    assert type(build(module.description, SearchModule)) is SearchModule


@dataclass(frozen=True)
class Part:
    number: int
    inner: Softmax
    hidden: int = field(default=0, init=False)


def test_values_become_plain() -> None:
    module = LightningModule()
    given = {"a": (1, [Part(3, Softmax(2.0))]), "b": {"c": Path("x/y")}, "d": None, "e": "text", "f": Unrolled()}
    found = describe(module, given)["init_args"]
    softmax = {"class_path": "robustnas.strategies.relaxation.Softmax", "init_args": {"temperature": 2.0}}
    part = {"class_path": f"{Part.__module__}.Part", "init_args": {"number": 3, "inner": softmax}}
    unrolled = {"class_path": "robustnas.strategies.gradient.Unrolled"}
    assert found == {"a": [1, [part]], "b": {"c": os.path.join("x", "y")}, "d": None, "e": "text", "f": unrolled}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    running = fit(folder, search(channels=2), limit_train_batches=1, limit_val_batches=0)
    running.save_checkpoint(folder / "good.ckpt")
    return folder / "good.ckpt"


def changed(checkpoint: Path, folder: Path, change: Any) -> Path:
    """A copy of the checkpoint whose description was tampered with."""
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, folder / "changed.ckpt")
    return folder / "changed.ckpt"


NOT_BUILT = "Expected the checkpoint to describe a SearchModule, but got one that fails"
MALICIOUS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.nn.Linear",
    "pytorch_lightning.LightningModule",
    "robustnas.networks.Supernet",
    "no.such.module.Search",
    "robustnas.variants.NoSuch",
]


def test_other_classes_than_searches_are_not_built(tmp_path, monkeypatch, checkpoint) -> None:
    def check(class_path: str) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError

        monkeypatch.setattr(os, "system", refuse)
        monkeypatch.setattr(torch.nn.Linear, "__init__", refuse)
        path = changed(checkpoint, tmp_path, lambda c: c[KEY]["module"].update(class_path=class_path))
        with pytest.raises(ValueError, match=NOT_BUILT):
            load(path, SearchModule)

    check_each(MALICIOUS, check)


def test_parts_of_another_kind_are_not_built(tmp_path, monkeypatch, checkpoint) -> None:
    def check(part: str) -> None:
        monkeypatch.setattr(os, "system", lambda *_: pytest.fail("executed"))
        call = {"class_path": "os.system", "init_args": {"command": "true"}}
        path = changed(checkpoint, tmp_path, lambda c: c[KEY]["module"]["init_args"].update({part: call}))
        with pytest.raises(ValueError, match=NOT_BUILT):
            load(path, SearchModule)

    check_each(["relaxation", "gradient", "selection", "perturbation"], check)


def test_a_space_that_is_none_is_refused(tmp_path, monkeypatch, checkpoint) -> None:
    def check(space: str) -> None:
        monkeypatch.setattr(os, "system", lambda *_: pytest.fail("executed"))
        path = changed(checkpoint, tmp_path, lambda c: c[KEY]["module"]["init_args"].update(space=space))
        with pytest.raises(ValueError, match="space"):
            load(path, SearchModule)

    check_each(["os.system", "os.environ", "no.such.space"], check)


def test_a_description_that_does_not_fit_its_class_is_refused(tmp_path, checkpoint) -> None:
    def check(change, named: str) -> None:
        with pytest.raises(ValueError, match=f"(?s)Expected the checkpoint to describe a SearchModule.*{named}"):
            load(changed(checkpoint, tmp_path, change), SearchModule)

    check_each(
        [
            (lambda c: c[KEY]["module"]["init_args"].update(nonsense=1), "nonsense"),
            (lambda c: c[KEY]["module"]["init_args"].update(channels="many"), "many"),
        ],
        lambda row: check(*row),
    )


class Harmful:
    """What a pickle can hold: a call that runs when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


def harmful(path: Path) -> None:
    torch.save({KEY: {"module": {}}, "harm": Harmful()}, path)


def truncated(path: Path) -> None:
    torch.save({"weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])


DAMAGED = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "truncated": truncated,
    "another's": lambda path: torch.save({"state_dict": {}}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Harmful())),
    "harmful": harmful,
}


def test_damaged_files_are_named_and_nothing_in_them_runs(tmp_path, monkeypatch) -> None:
    def check(write) -> None:
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "damaged.ckpt"
        write(path)
        with pytest.raises(
            ValueError, match=r"Expected .*damaged\.ckpt to be a checkpoint of robustnas, but reading it fails"
        ):
            load(path, SearchModule)
        assert not (tmp_path / "harmed").exists()

    check_each(DAMAGED, lambda name: check(DAMAGED[name]))


def test_what_is_wrong_with_a_file_is_said_in_words(tmp_path) -> None:
    cut, other = tmp_path / "cut.ckpt", tmp_path / "other.ckpt"
    truncated(cut)
    torch.save({"state_dict": {}}, other)
    for path, says in ((cut, "it is damaged or cut off"), (other, "it names no search or evaluation")):
        with pytest.raises(ValueError, match=f"reading it fails: {says}$"):
            load(path, SearchModule)


def test_a_missing_file_is_named(tmp_path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(ValueError, match=f"Expected `path` to be a checkpoint, but there is no file {path}."):
            load(path, SearchModule)


UNFIT = {
    "missing": lambda content: content["state_dict"].pop("alphas.cell"),
    "shape": lambda content: content["state_dict"].update({"alphas.cell": torch.zeros(2, 2)}),
    "unknown": lambda content: content["state_dict"].update({"alphas.other": torch.zeros(6, 5)}),
    "none": lambda content: content.pop("state_dict"),
}


def test_weights_that_do_not_fit_are_refused(tmp_path, checkpoint) -> None:
    def check(name: str) -> None:
        path = changed(checkpoint, tmp_path, UNFIT[name])
        with pytest.raises(
            ValueError, match=r"(?s)Expected .*changed\.ckpt to hold what fits its module.*(alphas|state_dict)"
        ):
            load(path, SearchModule)

    check_each(UNFIT, check)


def test_a_search_of_another_class_is_refused(checkpoint) -> None:
    class Other(SearchModule):
        pass

    with pytest.raises(ValueError, match="Expected the checkpoint to describe a Other, but got one that fails"):
        load(checkpoint, Other)


def test_a_loaded_search_computes(checkpoint) -> None:
    module = load(checkpoint, SearchModule).eval()
    mixtures = {"cell": Mixture(torch.full((6, 5), 0.2))}
    assert module(torch.randn(2, 1, 8, 8)).shape == module.supernet(torch.randn(2, 1, 8, 8), mixtures).shape == (2, 10)


def test_a_space_that_is_given_itself_is_recorded_by_its_name(tmp_path) -> None:
    space = SearchSpace("MySpace", dict(NASBench201.cells), "nasbench201")
    module = SearchModule(space=space, channels=4, cells=1)
    assert module.description["init_args"]["space"] == "MySpace"
    json.dumps(module.description)
