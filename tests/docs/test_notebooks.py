"""The notebooks of the documentation are stored as they were executed, and can be executed again."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from blocks import ROOT, Block
from IPython.core.inputtransformer2 import TransformerManager
from running import check_command

FOLDER = ROOT / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LARGEST = 400_000  # bytes of a file
MACHINE = re.compile(r"(?<![\w.:/])/(tmp|home|root|work|usr|opt|Users|private|var|mnt)/|[A-Z]:\\")
KNOWN = ("robustnas", "pytorch_lightning")  # packages whose names are looked up


def cells(name: str) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def kinds(cell: dict[str, Any]) -> set[tuple[str, ...]]:
    """What kinds of output a cell has, each with its forms."""
    return {(one["output_type"], *sorted(one.get("data", {one.get("name", ""): ""}))) for one in cell["outputs"]}


def test_both_notebooks_are_pages() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert len(NAMES) == 2
    assert [name for name in NAMES if f"\nnotebooks/{name}\n" not in index] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_as_it_was_executed(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < LARGEST
    assert "widgets" not in notebook["metadata"]
    assert [cell["execution_count"] for cell in cells(name)] == list(range(1, len(cells(name)) + 1))
    for cell in cells(name):
        text = json.dumps(cell["outputs"])
        assert not {"error", "widget"} & {one["output_type"] for one in cell["outputs"]}, source(cell)
        assert [one for one in cell["outputs"] if one.get("name") == "stderr"] == [], source(cell)
        assert "vnd.jupyter.widget" not in text, source(cell)
        assert MACHINE.search(text) is None, MACHINE.search(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_notebook_parses_and_its_names_and_options_exist(name: str) -> None:
    known: dict[str, Any] = {}
    for cell in cells(name):
        for line in re.findall(r"^!(.*)$", source(cell).replace("\\\n", " "), re.MULTILINE):
            words = shlex.split(line.partition(" 2>")[0])
            check_command(words, Block(FOLDER / f"{name}.ipynb", 1, "console", line))
        tree = ast.parse(TransformerManager().transform_cell(source(cell)))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                known.update(_imported(node))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (called := _found(node.func, known)) is not None:
                _check_arguments(node, called)


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """What a statement imports of the packages that are looked up; a name that is not there fails."""
    found: dict[str, Any] = {}
    for alias in node.names:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
        if module.partition(".")[0] in KNOWN:
            loaded = importlib.import_module(module)
            found[alias.asname or alias.name] = (
                getattr(loaded, alias.name) if isinstance(node, ast.ImportFrom) else loaded
            )
            assert not alias.name.rpartition(".")[2].startswith("_"), alias.name
    return found


def _found(func: ast.expr, known: dict[str, Any]) -> Any:
    """What is called, where that is a name that was imported, or an attribute of one."""
    if isinstance(func, ast.Attribute):
        owner = _found(func.value, known)
        return None if owner is None else getattr(owner, func.attr)
    return known.get(func.id) if isinstance(func, ast.Name) else None


def _check_arguments(call: ast.Call, called: Any) -> None:
    parameters = inspect.signature(called).parameters
    if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
        assert {word.arg for word in call.keywords if word.arg} - set(parameters) == set(), ast.unparse(call)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_can_be_executed_again(name: str, tmp_path: Path) -> None:
    execute = runpy.run_path(str(ROOT / "docs" / "_ext" / "execute_notebooks.py"))["execute"]
    stored, patient = FOLDER / f"{name}.ipynb", tmp_path / "patient.ipynb"
    patient.write_text(stored.read_text(encoding="utf-8").replace("--budget 90s", "--budget 5m"), encoding="utf-8")
    again = [cell for cell in execute(patient, tmp_path).cells if cell["cell_type"] == "code"]
    assert [kinds(cell) for cell in again] == [kinds(cell) for cell in cells(name)]
