"""Imports point one way: every arrow of the package map is here, and any other fails."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Floors from the ground: a room imports only from rooms of floors below its own. Its parts may import each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__init__",),
    ("runtime", "statistics"),
    ("spaces", "curvature", "data"),
    ("networks", "runs"),
    ("analysis", "tabular", "cost"),
    ("strategies", "plotting"),
    ("training",),
    ("variants", "diagnostics", "cli"),
    ("studies", "verification"),
    ("reports",),
    ("commands",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
UPWARD = {("robustnas.__init__", "runtime")}  # takes the current folder off the path before anything else is imported
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

BANNED_NAMES = {"utils", "util", "utilities", "helpers", "helper", "common", "misc"}
BUDGET = {"robustnas": 300, "variants": 100, "diagnostics": 300}
LONGER: dict[str, str] = {}  # file: the reason why it is over its budget


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
    if room not in FLOOR:
        return [f"{module}: the room {room!r} has no floor"]
    if room in ABSOLUTE and any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(source))):
        found.append(f"{module}: relative import, but {room} must import absolutely")
    for name, line, loaded in imports(module, source):
        where, top = f"{module}:{line}", name.split(".")[0]
        if top in NEVER:
            found.append(f"{where}: imports {top}, but {NEVER[top]}")
        if top in OUTSIDE:
            found.append(f"{where}: imports {name}, which is not importable under that name once installed")
        if top in _kept_out(module) and (loaded or room == "spaces"):
            found.append(f"{where}: {room} loads {top}")
        if top == "robustnas" and not _allowed(module, name):
            found.append(f"{where}: {room} -> {room_of(name)} is no arrow")
    return found


def _kept_out(module: str) -> set[str]:
    """What a module must not load, as said of it or of the nearest package around it."""
    parts = module.split(".")[1:] or ["__init__"]
    named = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((LIGHT[name] for name in named if name in LIGHT), set())


def _allowed(module: str, name: str) -> bool:
    room, target = room_of(module), room_of(name)
    if room == target:
        return room != "variants" or module.endswith(".__init__")
    if name.count(".") < 2 and target not in FLOOR:  # an attribute of robustnas itself, such as __version__
        return True
    return (module, target) in UPWARD or (target in FLOOR and FLOOR[target] < FLOOR[room])


def files() -> list[Path]:
    found = (path for folder in BUDGET for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


def test_imports_go_down() -> None:
    found = [fault for path in files() for fault in faults(module_of(path), path.read_text(encoding="utf-8"))]
    assert found == []


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


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("robustnas.spaces.darts", "import torch", "spaces loads torch"),
        ("robustnas.spaces.darts", "def f():\n    from torch import nn", "spaces loads torch"),
        ("robustnas.spaces.darts", "from ..networks.mixture import Mixture", "spaces -> networks"),
        ("robustnas.spaces.darts", "from robustnas import networks", "spaces -> networks"),
        ("robustnas.spaces.__init__", "from .. import data", "spaces -> data"),
        ("robustnas.runtime.trust", "import torch", "runtime loads torch"),
        ("robustnas.runtime.precision", "import pytorch_lightning", "runtime loads pytorch_lightning"),
        ("robustnas.strategies.gradient", "import robustnas.training.search", "strategies -> training"),
        ("robustnas.data.loader", "def f():\n    import robustnas.spaces", "data -> spaces"),
        ("robustnas.training.search", "from robustnas.variants.darts import DARTS", "training -> variants"),
        (
            "robustnas.cli.errors",
            "import importlib\nimportlib.import_module('robustnas.variants.darts')",
            "cli -> variants",
        ),
        ("robustnas.cli.errors", "if TYPE_CHECKING:\n    from robustnas.diagnostics import Gap", "cli -> diagnostics"),
        ("robustnas.studies.grid", "from robustnas.reports import report", "studies -> reports"),
        ("robustnas.cli.errors", "from tests.references import slow", "imports tests.references.slow"),
        ("robustnas.data.files", "import torchvision", "imports torchvision"),
        ("robustnas.extra", "import json", "'extra' has no floor"),
        ("robustnas.variants.gdas", "from robustnas.variants.darts import DARTS", "variants -> variants"),
        ("robustnas.variants.gdas", "from variants.darts import DARTS", "imports variants.darts.DARTS"),
        ("robustnas.variants.gdas", "from .darts import DARTS", "relative import"),
        ("robustnas.variants.gdas", "from robustnas.diagnostics.gap import Gap", "variants -> diagnostics"),
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
        ("robustnas.runs.record", "from robustnas import __version__\ndef f():\n    import torch"),
        ("robustnas.runs.record", "if TYPE_CHECKING:\n    import torch"),
        ("robustnas.runtime.precision", "import torch"),
        ("robustnas.__main__", "def main():\n    from robustnas import cli\n    import pytorch_lightning"),
        ("robustnas.cli.errors", "import importlib\nimportlib.import_module(name)"),
        ("robustnas.diagnostics.gap", "from robustnas.diagnostics.shares import Shares"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert faults(module, source) == []


def imported_inside(module: str, inside: set[str]) -> set[str]:
    """Modules of its own room that a module imports, for type checkers too."""
    path = next(path for path in files() if module_of(path) == module)
    names = [name for name, _, _ in imports(module, path.read_text(encoding="utf-8"))]
    return {found for name in names for found in (name, name.rpartition(".")[0]) if found in inside} - {module}


@pytest.mark.parametrize("room", sorted({room_of(module_of(path)) for path in files()}))
def test_modules_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    inside = {module_of(path) for path in files() if room_of(module_of(path)) == room}
    arrows = {module: imported_inside(module, inside) for module in inside}
    while free := {module for module, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {module: targets for module, targets in arrows.items() if module not in free}
    assert not arrows, f"a circle, or what leads to it: {arrows}"
