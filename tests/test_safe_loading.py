"""Nothing that lies in a file from elsewhere is executed, whatever reads it."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
import yaml
from made import write_folders
from PIL import Image
from refusals import MODEL, QUIET, SEARCH, said, short_search, untrained

from robustnas.__main__ import main
from robustnas.cli.errors import explain
from robustnas.runtime import trust
from robustnas.training import SearchModule, load

EVIL = "evil.SPACE"
SAYS = (
    "Expected names of robustnas, of Lightning or of a module that you trust, but got '{}', and importing it would run"
)
Change = Callable[[dict[str, Any]], object]


class Payload:
    """What a pickle can hold: a call that runs when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_search(tmp_path_factory.mktemp("safe") / "good")


@pytest.fixture
def bad(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that was unpacked beside a module which leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    untrained(monkeypatch)
    Path("evil.py").write_text("import os\nos.mkdir('executed')\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return Path(shutil.copytree(good, "bad"))


def checkpoint(folder: Path, change: Change) -> None:
    content = torch.load(folder / "last.ckpt", weights_only=True)
    change(content["robustnas"]["module"])
    torch.save(content, folder / "last.ckpt")


def config(folder: Path, change: Change) -> None:
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    change(content)
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def genotype(folder: Path) -> None:
    for path in (folder / "genotype.json", *(folder / "genotypes").iterdir()):
        path.write_text(path.read_text(encoding="utf-8").replace("NASBench201", EVIL), encoding="utf-8")


CALLBACK = {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "evil.start"}}
SYSTEM = {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "os.abort"}}
IMPORTED = {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "robustnas.runtime.trust.os.abort"}}
FIT = ["fit", "-c", "bad/config.yaml", "--run-dir=new"]
NAMES: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "a checkpoint's class": (lambda f: checkpoint(f, lambda m: m.update(class_path="evil.S")), ["landscape"], "evil.S"),
    "space of a checkpoint": (lambda f: checkpoint(f, lambda m: m["init_args"].update(space=EVIL)), ["select"], EVIL),
    "part of a checkpoint": (
        lambda f: checkpoint(f, lambda m: m["init_args"].update(penalty="evil.P")), ["select"], "evil.P"
    ),
    "space of a genotype, drawn": (genotype, ["draw"], EVIL),
    "space of a genotype, judged": (genotype, ["diagnose"], EVIL),
    "space of a genotype, reported": (genotype, ["report"], EVIL),
    "space of a configuration": (
        lambda f: config(f, lambda c: c["model"]["init_args"].update(space=EVIL)), ["evaluate"], EVIL
    ),
    "data of a configuration, evaluated": (
        lambda f: config(f, lambda c: c["data"].update(class_path="evil.D")), ["evaluate"], "evil.D"
    ),
    "data of a configuration, opened": (
        lambda f: config(f, lambda c: c["data"].update(class_path="evil.D")), ["landscape"], "evil.D"
    ),
    "model of a configuration": (lambda f: config(f, lambda c: c.update(model="evil.Model")), FIT, "evil.Model"),
    "space of a model": (lambda f: config(f, lambda c: c["model"]["init_args"].update(space=EVIL)), FIT, EVIL),
    "callback": (lambda f: config(f, lambda c: c["trainer"].update(callbacks=[CALLBACK])), FIT, "evil.start"),
    "function of the system": (lambda f: config(f, lambda c: c["trainer"].update(callbacks=[SYSTEM])), FIT, "os.abort"),
    "function that is defined elsewhere": (
        lambda f: config(f, lambda c: c["trainer"].update(callbacks=[IMPORTED])), FIT, f"{os.abort.__module__}.abort"
    ),
    "logger": (lambda f: config(f, lambda c: c["trainer"].update(logger="evil.Logger")), FIT, "evil.Logger"),
    "configuration to profile": (
        lambda f: config(f, lambda c: c.update(data="evil.D")), ["profile", "-c", "bad/config.yaml"], "evil.D"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_no_module_that_a_file_names_is_imported(case: str, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words, name = NAMES[case]
    spoil(bad)
    sentence = said(words if len(words) > 1 else [*words, "bad"], capsys)
    assert SAYS.format(name) in sentence, sentence
    assert "evil" not in sys.modules
    assert not Path("executed").exists()


WRITES = """
run_dir: run
model: {class_path: DARTS, init_args: {space: NASBench201, cells: 1, channels: 2}}
data: {class_path: Digits, init_args: {batch_size: 16}}
trainer:
  max_epochs: 1
  limit_train_batches: 1
  limit_val_batches: 1
  accelerator: cpu
  enable_progress_bar: false
  default_root_dir: root
  logger: {class_path: CSVLogger, init_args: {save_dir: logger}}
  callbacks: [{class_path: ModelCheckpoint, init_args: {dirpath: callback}}]
  profiler: {class_path: SimpleProfiler, init_args: {dirpath: profiler, filename: times}}
"""


def test_a_configuration_writes_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/guides/safety.md says a stranger's configuration may choose, and nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("stranger.yaml").write_text(WRITES, encoding="utf-8")
    assert main(["fit", "-c", "stranger.yaml"]) == 0
    allowed = {"stranger.yaml", "run", "root", "logger", "callback", "profiler"}
    assert {path.name for path in tmp_path.iterdir()} <= allowed
    assert any(Path("callback").glob("*.ckpt"))
    assert any(Path("logger").rglob("metrics.csv"))
    assert any(Path("profiler").glob("*times*"))


PICKLES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "checkpoint": (lambda f: torch.save({"state_dict": Payload()}, f / "last.ckpt"), ["landscape", "bad"]),
    "checkpoint to go on from": (lambda f: torch.save(Payload(), f / "last.ckpt"), [*FIT, "--ckpt_path=bad/last.ckpt"]),
    "old pickle": (lambda f: (f / "last.ckpt").write_bytes(pickle.dumps(Payload())), ["select", "bad"]),
    "α": (lambda f: np.savez(f / "alpha/epoch_0000.npz", cell=np.array([Payload()], object)), ["diagnose", "bad"]),
    "α of another tool": (
        lambda f: np.savez("h.npz", cell=np.array([Payload()], object)), ["diagnose", "h.npz", "--space=NASBench201"]
    ),
    "YAML": (lambda f: (f / "config.yaml").write_text("data: !!python/object/apply:os.mkdir [executed]\n"), FIT),
    "YAML beside a run": (
        lambda f: (f / "config.yaml").write_text("data: !!python/object/apply:os.mkdir [executed]\n"),
        ["landscape", "bad"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
def test_no_object_of_a_file_is_built(case: str, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = PICKLES[case]
    spoil(bad)
    assert said(words, capsys).startswith("Expected ")
    assert not Path("executed").exists()


ALLOWED = {
    "an option": (["--trust", "evil"], ""),
    "several": (["--trust=other,evil"], ""),
    "a variable": ([], "evil"),
    "a name that is typed": (["--space", EVIL], ""),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_user_trusts_is_imported(
    case: str, bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genotype(bad)
    words, variable = ALLOWED[case]
    monkeypatch.setenv("ROBUSTNAS_TRUST", variable)
    assert said(["draw", "bad", *words], capsys).startswith("Expected `space` to be one of ['DARTS'")  # it holds none
    assert Path("executed").exists()
    assert trust.is_trusted(EVIL) == bool(variable)  # no longer than the command takes


def test_what_is_typed_is_trusted_but_file_names_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNAS_TRUST", "")
    Path("theirs.yaml").touch()
    words = ["fit", "-c", "theirs.yaml", "--model.space=mine.SPACE", "--model=a.b.C", "--run-dir=run.folder"]
    words += ["--data.root=d.e/f"]
    words += ["--trainer.callbacks+=[{class_path: own.Callback}]", "--data.train=theirs.yaml", "--model.x=os.system"]
    with trust.trusting(words):
        assert set(trust.allowed()) - set(trust.LIBRARIES) == {"mine", "a", "own"}
    assert set(trust.allowed()) == set(trust.LIBRARIES)


def test_the_settings_of_the_parser_are_put_back(good: Path) -> None:
    before = dict(jsonargparse._common.parsing_settings)
    load(good / "last.ckpt", SearchModule)
    assert jsonargparse._common.parsing_settings == before


@pytest.mark.parametrize("path", ["...", "evil..SPACE", "a-b.SPACE"])
def test_no_trust_is_advised_that_would_be_refused(path: str) -> None:
    assert trust.refusal(path) == f"Expected an import path, such as my_space.SPACE, but got {path!r}."


@pytest.mark.parametrize("words", [["--model.space=..."], ["--model.space=1.5"], ["--model.space=a-b.SPACE"]])
def test_a_space_that_no_module_can_hold_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sentence = said([*SEARCH, *words], capsys)
    assert sentence.startswith("Expected `space` to be one of ['DARTS', "), sentence


def test_an_error_message_imports_nothing_that_is_not_trusted(bad: Path) -> None:
    """The text of a message can come from a file, and look like the words of the parser."""
    sentence = explain("Key 'wrong' is not expected\nProblem with class_path 'evil.Model'")
    assert sentence == "Expected an option of Model, but got `wrong`."
    assert not Path("executed").exists()


def test_what_is_trusted_is_found_in_the_current_folder_and_shadows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNAS_TRUST", "")
    for name in ("planted_here", "planted_too", "json", "torchmetrics"):
        Path(f"{name}.py").touch()
    with trust.trusting(["draw", "--trust=planted_here,json,torchmetrics,no_such_module"]):
        assert importlib.util.find_spec("planted_here").origin == str(tmp_path / "planted_here.py")
        for other in ("planted_too", "no_such_module"):
            assert importlib.util.find_spec(other) is None
        for installed in ("json", "torchmetrics"):
            monkeypatch.delitem(sys.modules, installed)
            assert tmp_path not in Path(importlib.util.find_spec(installed).origin).parents
    assert importlib.util.find_spec("planted_here") is None


def test_a_package_that_may_not_be_installed_is_not_trusted() -> None:
    """`lightning` is another distribution than the `pytorch-lightning` that this one requires."""
    for name in trust.LIBRARIES:
        assert importlib.util.find_spec(name) is not None
    assert not trust.is_trusted("lightning.S")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def test_markup_of_a_run_stays_text_in_a_report(bad: Path) -> None:
    hostile = "<script>alert(1)</script><iframe src=x>"
    manifest = json.loads((bad / "manifest.json").read_text(encoding="utf-8"))
    manifest["module"]["class_path"] = f"x.{hostile}"
    manifest["data"].update(source=hostile, classes=[hostile] * 10)
    manifest[hostile] = {hostile: [hostile]}
    (bad / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    named = bad.rename("<script>x<iframe>")
    assert main(["report", str(named), "-o", "out.html"]) == 0
    page = _Tags()
    page.feed(Path("out.html").read_text(encoding="utf-8"))
    assert not page.tags & {"script", "iframe"}
    assert "h1" in page.tags


def test_a_picture_that_explodes_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images", each=8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)  # of 64; above twice the limit Pillow refuses
    sentence = said(["fit", *MODEL, "--data=ImageFolder", "--data.root=images", *QUIET], capsys)
    assert sentence.startswith("Expected each of 16 images to be readable, but got 16 that are not: 'images/class0/")
    assert "decompression bomb" in sentence
