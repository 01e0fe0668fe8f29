"""Imports point one way: every arrow of the package map is here, and any other fails."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room: the rooms it may import. A room is a module or package of robustnas; its own parts may import each other.
ARROWS: dict[str, set[str]] = {
    "__init__": {"module_path"},
    "module_path": set(),
    "safe_files": set(),
    "safe_yaml": {"safe_files"},
    "current_folder": set(),
    "trust": {"current_folder", "safe_yaml"},
    "paths": set(),
    "spaces": {"trust", "safe_files"},
    "text_files": {"safe_files"},
    "csv_files": {"text_files"},
    "data": {"whole", "paths", "csv_files"},
    "precision": set(),
    "curvature": {"precision"},
    "spectrum": {"curvature"},
    "eigenvalue": {"curvature"},
    "environment": set(),
    "streams": set(),
    "whole": set(),
    "terminal": set(),
    "record": {"spaces", "environment", "whole", "paths", "safe_files", "text_files"},
    "folder": {"record", "whole"},
    "shares": {"spaces"},
    "curves": set(),
    "statistics": set(),
    "landscape": set(),
    "table": {"spaces", "record", "paths", "csv_files", "safe_files"},
    "verdict": {"spaces", "shares", "record", "safe_files", "text_files", "csv_files"},
    "lanes": {"spaces"},
    "drawing": {"spaces", "lanes", "whole"},
    "report": {"record", "verdict", "drawing", "curves", "shares", "spaces", "lanes", "csv_files"},
    "networks": {"spaces", "environment"},
    "cost": {"networks", "spaces", "safe_files"},
    "strategies": {"networks", "spaces", "cost", "paths"},
    "training": {
        "strategies",
        "networks",
        "spaces",
        "data",
        "record",
        "environment",
        "drawing",
        "curvature",
        "eigenvalue",
        "precision",
        "whole",
        "safe_files",
        "trust",
        "csv_files",
        "paths",
    },
}
LIBRARY = set(ARROWS)
ARROWS |= {
    "baselines": LIBRARY,
    "options": {"paths", "safe_yaml", "trust"},
    "launch": {"trust"},
    "cli": LIBRARY | {"options", "launch"},
    "evaluating": LIBRARY | {"cli"},
    "verification": LIBRARY | {"cli", "launch"},
    "studies": LIBRARY | {"cli", "evaluating", "baselines", "options"},
    "commands": LIBRARY | {"cli", "options", "evaluating", "launch", "studies", "verification"},
    "__main__": LIBRARY | {"cli", "commands", "studies", "options"},
    "variants": LIBRARY,
    "diagnostics": LIBRARY,
}
ABSOLUTE = {"variants", "diagnostics"}  # type checkers cannot follow a relative import out of these folders
OUTSIDE = {"tests", "benchmarks", "configs", "variants", "diagnostics"}  # not importable under these names

LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "tensorboard"}
HEAVY = LIGHTNING | {"torch"}
# Room: what it must not import when it is loaded, so that the command answers at once.
LIGHT: dict[str, set[str]] = {
    "__init__": HEAVY,
    "module_path": HEAVY,
    "safe_files": HEAVY,
    "safe_yaml": HEAVY,
    "current_folder": HEAVY,
    "trust": HEAVY,
    "paths": HEAVY,
    "spaces": HEAVY,
    "environment": HEAVY,
    "streams": HEAVY,
    "whole": HEAVY,
    "text_files": HEAVY,
    "csv_files": HEAVY,
    "record": HEAVY,
    "folder": HEAVY,
    "shares": HEAVY,
    "curves": HEAVY,
    "statistics": HEAVY,
    "landscape": LIGHTNING,
    "table": HEAVY,
    "baselines": HEAVY,
    "verdict": HEAVY,
    "drawing": LIGHTNING,
    "report": HEAVY,
    "terminal": HEAVY,
    "__main__": HEAVY,
}
NEVER = {"torchvision": "its wheel beside a CPU torch breaks even the import of Lightning"}

BANNED_NAMES = {"utils", "util", "utilities", "helpers", "helper", "common", "misc"}
BUDGET = {"robustnas": 300, "variants": 100, "diagnostics": 300}
LONGER = {  # file: the reason why it is over its budget
    "robustnas/training/search.py": "half of it declares and documents the arguments, each in its one place",
}


def module_of(path: Path) -> str:
    """Dotted name under which a file is imported; a package's is that of its ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "robustnas" else ("robustnas", *parts))


def room_of(module: str) -> str:
    """Room of a module: the part after ``robustnas``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(module: str, source: str) -> Iterator[tuple[str, int, bool]]:
    """Every imported module as its full name, with the line and whether it is imported on loading.

    ``from a import b`` gives ``a.b``, since ``b`` may be a module; a relative import is resolved. A literal name
    given to ``import_module`` counts too.
    """
    tree = ast.parse(source)
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    checking = {id(n) for i in ast.walk(tree) if isinstance(i, ast.If) and _type_checking(i) for n in ast.walk(i)}
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        loaded = id(node) not in inner | checking
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, loaded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from ((".".join([*base, alias.name]), node.lineno, loaded) for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield str(node.args[0].value), node.lineno, loaded  # type: ignore[attr-defined]


def _type_checking(node: ast.If) -> bool:
    return ast.unparse(node.test).endswith("TYPE_CHECKING")


def _is_import_call(node: ast.Call) -> bool:
    named = ast.unparse(node.func).rpartition(".")[2] in {"import_module", "__import__"}
    return named and bool(node.args) and isinstance(node.args[0], ast.Constant)


def faults(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module, a sentence for each."""
    room, found = room_of(module), []
    if room not in ARROWS:
        return [f"{module}: the room {room!r} has no row in ARROWS"]
    if room in ABSOLUTE and any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(source))):
        found.append(f"{module}: relative import, but {room} must import absolutely")
    for name, line, loaded in imports(module, source):
        where, top = f"{module}:{line}", name.split(".")[0]
        if top in NEVER:
            found.append(f"{where}: imports {top}, but {NEVER[top]}")
        if top in OUTSIDE:
            found.append(f"{where}: imports {name}, which is not importable under that name once installed")
        if top in LIGHT.get(room, ()) and (loaded or room == "spaces"):
            found.append(f"{where}: {room} loads {top}")
        if top == "robustnas" and not _allowed(module, name):
            found.append(f"{where}: {room} -> {room_of(name)} is no arrow")
    return found


def _allowed(module: str, name: str) -> bool:
    room, target = room_of(module), room_of(name)
    if room == target:
        return room != "variants" or module.endswith(".__init__")
    attribute = name.count(".") < 2 and target not in ARROWS  # of robustnas itself, such as __version__
    return attribute or target in ARROWS[room] or target == "__init__"


def files() -> list[Path]:
    found = (path for folder in BUDGET for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    assert faults(module_of(path), path.read_text(encoding="utf-8")) == []


def over_budget() -> dict[str, int]:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files()
    }
    return {name: lines for name, lines in lengths.items() if lines > BUDGET[name.split("/")[0]]}


def test_files_keep_their_budget_or_say_why() -> None:
    assert {name: lines for name, lines in over_budget().items() if name not in LONGER} == {}
    assert set(LONGER) <= set(over_budget()), "an exception that is no longer needed"


def test_names_tell_what_a_file_holds() -> None:
    names = [path.relative_to(ROOT).with_suffix("").parts for path in files()]
    assert [parts for parts in names if BANNED_NAMES & set(parts)] == []


def test_the_arrows_have_no_circle() -> None:
    left = {room: set(targets) for room, targets in ARROWS.items()}
    while ends := [room for room, targets in left.items() if not targets & set(left)]:
        left = {room: targets for room, targets in left.items() if room not in ends}
    assert left == {}


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("robustnas.spaces.darts", "import torch", "spaces loads torch"),
        ("robustnas.spaces.darts", "def f():\n    from torch import nn", "spaces loads torch"),
        ("robustnas.spaces.darts", "from robustnas.networks import Full", "spaces -> networks"),
        ("robustnas.spaces.darts", "from ..networks.mixture import Mixture", "spaces -> networks"),
        ("robustnas.spaces.darts", "from robustnas import networks", "spaces -> networks"),
        ("robustnas.spaces.__init__", "from .. import data", "spaces -> data"),
        (
            "robustnas.networks.supernet",
            "from robustnas.strategies.relaxation import Softmax",
            "networks -> strategies",
        ),
        ("robustnas.strategies.gradient", "import robustnas.training.search", "strategies -> training"),
        ("robustnas.data.loader", "def f():\n    import robustnas.spaces", "data -> spaces"),
        ("robustnas.curvature", "from robustnas.networks import Full", "curvature -> networks"),
        ("robustnas.record", "import torch", "record loads torch"),
        ("robustnas.record", "from pytorch_lightning import Trainer", "record loads pytorch_lightning"),
        ("robustnas.training.search", "import robustnas.cli", "training -> cli"),
        ("robustnas.training.search", "from robustnas.variants.darts import DARTS", "training -> variants"),
        ("robustnas.cli", "import importlib\nimportlib.import_module('robustnas.variants.darts')", "cli -> variants"),
        ("robustnas.cli", "if TYPE_CHECKING:\n    from robustnas.diagnostics import Gap", "cli -> diagnostics"),
        ("robustnas.cli", "from robustnas.studies import grid", "cli -> studies"),
        ("robustnas.cli", "from tests.references import slow", "imports tests.references.slow"),
        ("robustnas.data.files", "import torchvision", "imports torchvision"),
        ("robustnas.extra", "import json", "'extra' has no row"),
        ("robustnas.variants.gdas", "from robustnas.variants.darts import DARTS", "variants -> variants"),
        ("robustnas.variants.darts", "from robustnas.variants.darts_pt import DARTSPT", "variants -> variants"),
        ("robustnas.variants.gdas", "from variants.darts import DARTS", "imports variants.darts.DARTS"),
        ("robustnas.variants.gdas", "from .darts import DARTS", "relative import"),
        ("robustnas.variants.gdas", "from robustnas.diagnostics.gap import Gap", "variants -> diagnostics"),
        ("robustnas.diagnostics.gap", "from robustnas.variants.darts import DARTS", "diagnostics -> variants"),
        ("robustnas.diagnostics.gap", "from ..record import Run", "relative import"),
        ("robustnas.diagnostics.gap", "import benchmarks.speed", "imports benchmarks.speed"),
    ],
)
def test_a_planted_import_is_caught(module: str, source: str, fault: str) -> None:
    assert fault in " ".join(faults(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("robustnas.spaces.darts", "from robustnas.spaces.space import CellSpace\nfrom .space import Edge"),
        ("robustnas.networks.supernet", "import torch\nfrom robustnas.spaces import SearchSpace"),
        ("robustnas.record", "from robustnas import __version__\ndef f():\n    import torch"),
        ("robustnas.spaces.space", "import robustnas"),
        ("robustnas.record", "if TYPE_CHECKING:\n    import torch"),
        ("robustnas.training.search", "from robustnas.data import SearchData\nfrom robustnas import curvature"),
        ("robustnas.__main__", "def main():\n    from robustnas import cli\n    import pytorch_lightning"),
        ("robustnas.cli", "import importlib\nimportlib.import_module(name)"),
        ("robustnas.variants.gdas", "from robustnas.training.search import SearchModule"),
        ("robustnas.diagnostics.gap", "from robustnas.diagnostics.shares import Shares"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert faults(module, source) == []
