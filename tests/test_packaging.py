"""What is installed is what is in the tree, with reasons for every bound and a pin for every dependency."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import check_each

import robustnas

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("robustnas", "variants", "diagnostics", "configs")
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(TEXT)
OPTIONAL = PROJECT["project"]["optional-dependencies"]
EXTRAS = [bound for bounds in OPTIONAL.values() for bound in bounds if not bound.startswith("robustnas[")]
DEV = [*(bound for bound in OPTIONAL["dev"] if not bound.startswith("robustnas[")), *OPTIONAL["docs"]]
BOUNDS = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *EXTRAS]
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\d[0-9A-Za-z.]*)")


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(bound: str) -> str:
    return normal(re.match(r"[A-Za-z0-9._-]+", bound)[0])


def installed_files(root: Path = ROOT) -> list[str]:
    """Where the files of the tree lie once they are installed."""
    files = (path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    names = (path.as_posix() for path in files if "__pycache__" not in path.parts)
    return sorted(name if name.startswith("robustnas/") else f"robustnas/{name}" for name in names)


def package_folders() -> set[str]:
    return {name.rpartition("/")[0] for name in installed_files() if name.endswith(".py")}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found), f"not `name==version`: {[line for line in lines if line[:1] != '#' and not PIN.fullmatch(line)]}"
    return {normal(pin[1]): pin[2] for pin in found if pin}


def test_packages_are_the_folders_with_modules() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(folder.replace("/", ".") for folder in package_folders())


def test_every_package_has_an_init() -> None:
    assert [name for name in package_folders() if f"{name}/__init__.py" not in installed_files()] == []


def test_a_bound_has_a_reason_that_names_it() -> None:
    def check(bound: str) -> None:
        line = next(line for line in TEXT.splitlines() if f'"{bound}"' in line)
        version = re.search(r">=([\d.]+)$", bound)
        assert version, f"{bound} has no lower bound"
        reason = line.partition("#")[2]
        names_it = re.search(rf"(?<![\d.]){re.escape(version[1])}(?![\d.]*\d)", reason)
        assert names_it, f"{bound}: no reason for {version[1]}"
        assert len(re.findall(r"[A-Za-z]{2,}", reason)) >= 2, f"{bound}: {reason!r} is no reason"

    check_each([*BOUNDS, PROJECT["project"]["requires-python"]], check)


def test_constraints_pin_every_dependency_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    wanted = {required(bound) for bound in [*PROJECT["project"]["dependencies"], *DEV]}
    assert wanted - set(pins()) == set()
    assert len(pins()) == len(lines)
    assert pins()["torch"] == "2.13.0"


def test_constraints_hold_nothing_of_one_machine() -> None:
    banned = re.compile(r"nvidia|cuda|triton|torchvision|^pip$|^robustnas$")
    assert [name for name in pins() if banned.search(name)] == []


def test_pins_satisfy_the_bounds() -> None:
    def number(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)]

    for bound in [*PROJECT["project"]["dependencies"], *DEV]:
        assert number(pins()[required(bound)]) >= number(bound.partition(">=")[2]), bound


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == robustnas.__version__
    assert citation["license"] == PROJECT["project"]["license"] == "Apache-2.0"
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert [line.split()[0] for line in text.splitlines() if re.match(r"   \d\. ", line)] == [
        f"{i}." for i in range(1, 10)
    ]
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_readme_has_the_test_command_of_ci() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if "pytest" in line]
    (command,) = commands
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("README.md is not written yet")
    assert command in [line.strip().removeprefix("$ ") for line in readme.read_text(encoding="utf-8").splitlines()]


def test_hooks_run_what_ci_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert f".venv/bin/{hook['entry'].removesuffix(' --force-exclude')}" in ci


def test_a_wheel_holds_exactly_the_tree(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="a wheel is built with the setuptools installed here")
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "configs" / "planted.yaml").write_text("a: 1\n")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, source)
    flags = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", str(out)]
    built = subprocess.run([sys.executable, "-m", "pip", "wheel", str(source), *flags], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = out.iterdir()
    assert wheel.name.startswith(f"robustnas-{robustnas.__version__}-py3-")
    inside = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(inside) == installed_files(source)
