"""The recorded environment has versions, machine and commit, and no program of a repository is run for it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

import robustnas
from robustnas.runtime import environment as module
from robustnas.runtime.environment import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that lies in no repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (
            "model name : a\nflags\t\t: fpu avx2 avx512f avx512_bf16 vaes\n\nflags\t\t: fpu",
            ["avx2", "avx512f", "avx512_bf16"],
        ),
        ("Features\t: fp asimd bf16", ["asimd", "bf16"]),
        ("flags : fpu sse", []),
        ("nothing of it", None),
    ],
)
def test_the_instruction_set_is_that_of_the_system(
    text: str, known: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert module.instructions() == known


def test_a_system_without_a_list_of_instructions_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert module.instructions() is None


@pytest.fixture
def repository(folder: Path) -> Path:
    git(folder, "init", "-q")
    (folder / "search.yaml").write_text("seed: 0\n")
    git(folder, "add", "search.yaml")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_it_is_json_and_names_versions_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["robustnas", "fit", "-c", "x.yaml"])
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["command"] == ["robustnas", "fit", "-c", "x.yaml"]
    assert found["versions"]["robustnas"] == robustnas.__version__
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("torch", "pytorch-lightning", "numpy", "scipy"):
        assert found["versions"][name] == importlib.metadata.version(name)
    assert 1 <= found["cpu"]["usable"] <= found["cpu"]["cores"]
    assert found["cpu"]["model"]
    assert found["memory_bytes"] is None or found["memory_bytes"] > 2**20


def test_it_starts_now_in_utc() -> None:
    started = datetime.fromisoformat(environment()["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - started) < timedelta(minutes=1)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", missing)
    assert environment()["versions"]["torch"] is None


def test_gpus_are_named_only_where_torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["first", "second"]
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_name=names.__getitem__)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert environment()["gpus"] == names
    cuda.is_available = lambda: False
    assert environment()["gpus"] == []
    monkeypatch.delitem(sys.modules, "torch")
    assert environment()["gpus"] == []
    assert "torch" not in sys.modules


def test_the_commit_of_the_working_directory(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    below = repository / "runs"
    below.mkdir()
    (below / "untracked.json").write_text("{}")
    assert environment()["git"]["working_directory"] == {"commit": commit, "dirty": False}
    (repository / "search.yaml").write_text("seed: 1\n")
    assert environment()["git"]["working_directory"] == {"commit": commit, "dirty": True}


def test_a_hook_of_another_repository_does_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere" / "index"))
    assert environment()["git"]["working_directory"]["dirty"] is False


@pytest.mark.parametrize("setting", ["core.fsmonitor", "core.hooksPath", "filter.x.clean", "filter.x.process"])
def test_no_program_of_a_repository_is_run(setting: str, repository: Path, tmp_path: Path) -> None:
    """A run from elsewhere may lie in a repository whose settings name programs, which `git status` runs."""
    program = tmp_path / "programs" / "post-index-change"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n", encoding="utf-8")
    program.chmod(0o755)
    git(repository, "config", setting, str(program.parent if setting == "core.hooksPath" else program))
    (repository / ".git" / "info" / "attributes").write_text("search.yaml filter=x\n", encoding="utf-8")
    (repository / "search.yaml").write_text("seed: 0\n")  # the same, at another time
    dirty = environment()["git"]["working_directory"]["dirty"]
    assert not (tmp_path / "executed").exists()
    assert dirty is (None if setting.startswith("filter") else False)
    if setting != "core.hooksPath":
        subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=False)
        assert (tmp_path / "executed").exists()  # git alone does run it


def test_no_repository_no_commit_and_no_git(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment()["git"]["working_directory"] is None
    git(folder, "init", "-q")
    assert environment()["git"]["working_directory"] is None
    monkeypatch.setenv("PATH", "")
    assert environment()["git"] == {"robustnas": None, "working_directory": None}
    assert capfd.readouterr() == ("", "")


def test_the_checkout_counts_only_where_it_is_tracked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = repository / "site-packages" / "robustnas"
    package.mkdir(parents=True)
    for name in ("__init__.py", "environment.py"):
        (package / name).write_text("")
    monkeypatch.setattr(module, "__file__", str(package / "environment.py"))
    assert environment()["git"]["robustnas"] is None
    git(repository, "add", "site-packages")
    assert environment()["git"]["robustnas"] == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": True}
