"""Rooms import downwards and without cycles, load nothing heavy too early, and files are well named."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tables import check_each

ROOT = Path(__file__).resolve().parents[1]

ABSOLUTE = {"variants", "diagnostics"}  # type checkers cannot follow a relative import out of these folders
OUTSIDE = {"tests", "benchmarks", "configs", "variants", "diagnostics"}  # not importable under these names
LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "tensorboard"}
HEAVY = LIGHTNING | {"torch"}
# Room or module: what it must not import when it is loaded, so that the command answers at once.
LIGHT: dict[str, set[str]] = {
    "__init__": HEAVY,
    "runtime": HEAVY,
    "runtime.precision": LIGHTNING,
    "runtime.launch": LIGHTNING,
    "statistics": HEAVY,
    "spaces": HEAVY,
    "curvature": LIGHTNING,
    "runs": HEAVY,
    "analysis": HEAVY,
    "tabular": HEAVY,
    "plotting": LIGHTNING,
    "studies.searchers": HEAVY,
    "reports": HEAVY,
    "__main__": HEAVY,
}
NEVER = {"torchvision": "its wheel beside a CPU torch breaks even the import of Lightning"}

HIDDEN = re.compile(r"(?:import_module|__import__)\(\s*[\"'](robustnas[\w.]*)")  # import-linter does not see these

BANNED_NAMES = {"utils", "util", "utilities", "helpers", "helper", "common", "misc"}
FOLDERS = ("robustnas", "variants", "diagnostics")


def module_of(path: Path) -> str:
    """Dotted name under which a file is imported; a package's is that of its ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "robustnas" else ("robustnas", *parts))


def room_of(module: str) -> str:
    """Room of a module: the part after ``robustnas``."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(source: str) -> Iterator[tuple[str, int, bool]]:
    """Every module that is imported by its full name, with the line and whether it is imported on loading."""
    tree = ast.parse(source)
    later = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and ast.unparse(outer.test).endswith("TYPE_CHECKING"))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) not in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module, node.lineno, id(node) not in later


def faults(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module, apart from floors and cycles, a sentence for each."""
    room, found = room_of(module), []
    if room in ABSOLUTE and any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(source))):
        found.append(f"{module}: relative import, but {room} must import absolutely")
    found += [f"{module}: import_module hides an arrow to {name}" for name in HIDDEN.findall(source)]
    for name, line, loaded in imports(source):
        top = name.split(".")[0]
        if top in NEVER:
            found.append(f"{module}:{line}: imports {top}, but {NEVER[top]}")
        if top in OUTSIDE:
            found.append(f"{module}:{line}: imports {name}, which is not importable under that name once installed")
        if top in kept_out(module) and (loaded or room == "spaces"):
            found.append(f"{module}:{line}: {room} loads {top}")
    return found


def kept_out(module: str) -> set[str]:
    """What a module must not load, as said of it or of the nearest package around it."""
    parts = module.split(".")[1:] or ["__init__"]
    named = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((LIGHT[name] for name in named if name in LIGHT), set())


def files() -> list[Path]:
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


def broken_contracts(folder: Path, planted: dict[str, str]) -> str:
    """What import-linter says of the packages laid out as they are installed, with lines added to some modules."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "robustnas", folder / "robustnas", ignore=ignored)
    for room in ABSOLUTE:
        shutil.copytree(ROOT / room, folder / "robustnas" / room, ignore=ignored)
    for name, line in planted.items():
        path = folder / "robustnas" / name
        path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{line}\n", encoding="utf-8")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    command += ["--no-cache", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(folder)})
    assert (" 0 broken" in done.stdout) == (done.returncode == 0), done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_rooms_import_downwards_and_without_cycles(tmp_path: Path) -> None:
    assert broken_contracts(tmp_path, {}) == ""


def test_planted_arrows_are_caught(tmp_path: Path) -> None:
    planted = {
        "spaces/darts.py": "from ..networks.mixture import Mixture",
        "diagnostics/gap.py": "if TYPE_CHECKING:\n    from robustnas.cli.errors import Parser",
        "data/loader.py": "def f():\n    import robustnas.training.search",
        "spaces/space.py": "from robustnas.spaces.darts import DARTS",
        "variants/gdas.py": "from robustnas.variants.darts import DARTS",
    }
    said = " ".join(broken_contracts(tmp_path, planted).split())
    for contract in ("floors BROKEN", "no cycle inside a room BROKEN", "nothing of each other BROKEN"):
        assert contract in said
    for arrow in (
        "robustnas.spaces.darts -> robustnas.networks.mixture",
        "diagnostics.gap -> robustnas.cli.errors",
        "robustnas.data.loader -> robustnas.training.search",
        "robustnas.variants.gdas -> robustnas.variants.darts",
    ):
        assert arrow in said, said


def test_a_room_that_stands_on_no_floor_is_caught(tmp_path: Path) -> None:
    assert "robustnas.extra" in broken_contracts(tmp_path, {"extra.py": "import json"})


def test_nothing_heavy_is_loaded_and_nothing_that_is_not_installed() -> None:
    found = [fault for path in files() for fault in faults(module_of(path), path.read_text(encoding="utf-8"))]
    assert found == []


def test_a_planted_import_is_caught() -> None:
    rows = [
        ("robustnas.spaces.darts", "def f():\n    from torch import nn", "spaces loads torch"),
        ("robustnas.runtime.precision", "import pytorch_lightning", "runtime loads pytorch_lightning"),
        ("robustnas.cli.errors", "from tests.references import slow", "imports tests.references"),
        ("robustnas.data.files", "import torchvision", "imports torchvision"),
        ("robustnas.variants.gdas", "from .darts import DARTS", "relative import"),
        (
            "robustnas.cli.errors",
            "importlib.import_module('robustnas.variants.darts')",
            "arrow to robustnas.variants.darts",
        ),
        ("robustnas.runs.record", "def f():\n    import torch", ""),
        ("robustnas.runs.record", "if TYPE_CHECKING:\n    import torch", ""),
        ("robustnas.runtime.precision", "import torch", ""),
    ]

    def check(row: tuple[str, str, str]) -> None:
        module, source, fault = row
        found = " ".join(faults(module, source))
        assert fault in found if fault else found == ""

    check_each(rows, check)


def test_names_tell_what_a_file_holds() -> None:
    names = [path.relative_to(ROOT).with_suffix("").parts for path in files()]
    assert [parts for parts in names if BANNED_NAMES & set(parts)] == []
