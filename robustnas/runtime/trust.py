"""Which modules a file from elsewhere may name: only those that the user trusts.

Files name classes and search spaces by import path, and importing a module runs its code. So a name in a file is
followed only if it lies in robustnas or PyTorch Lightning, or in a module that the user trusts: on the command line
(``--model.space my_space.SPACE``, ``--trust my_space``), in the environment variable ``ROBUSTNAS_TRUST``, a list with
commas, or by :func:`trust`. A trusted module that is not installed is also searched in the current folder; others are
not, since a run from elsewhere may bring a file with the name of an optional dependency.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from robustnas.runtime.safe_yaml import checked_yaml

LIBRARIES = ("robustnas", "pytorch_lightning", "lightning_fabric", "torchmetrics")  # robustnas requires them all
VARIABLE = "ROBUSTNAS_TRUST"
SECTIONS = ("data", "diagnostics", "model", "selection", "space", "trainer")  # options whose values may be import paths


def trust(*modules: str) -> None:
    """Let files name classes and spaces of modules and all below them, in this process and those that it starts."""
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*_trusted_names(), *_checked_names(modules, "module")]))


def is_trusted(path: str) -> bool:
    """Whether an import path in a file may be imported: it lies in robustnas, Lightning or a trusted module."""
    return any(path == name or path.startswith(f"{name}.") for name in allowed())


def allowed() -> list[str]:
    """Names of the modules that files may name, each with everything below it."""
    return sorted({*LIBRARIES, *_checked_names(_trusted_names(), VARIABLE)})


def is_import_path(path: object) -> bool:
    """Whether something is a name inside a module, such as ``my_space.SPACE``."""
    return isinstance(path, str) and "." in path and all(part.isidentifier() for part in path.split("."))


def trusted_modules() -> list[str]:
    """Modules that this process trusts beyond the library and the environment variable it started with."""
    return [name for name in dict.fromkeys(_trusted_names()) if name not in _INHERITED]


def refusal(path: str) -> str:
    """The message for an import path that may not be imported."""
    if not is_import_path(path):
        return f"Expected an import path, such as my_space.SPACE, but got {path!r}."
    module = path.partition(".")[0]
    return (
        f"Expected names of robustnas, of Lightning or of a module that you trust, but got '{path}', and importing it "
        f"would run code of the module {module}; `--trust {module}` or {VARIABLE}={module} allows it."
    )


def own_message(message: str) -> str | None:
    """The message of this library inside an error of the parser, or ``None``."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        return refusal(denied[1])
    missing = re.search(r"No module named '(\w+)'", message)
    if missing and (Path(f"{missing[1]}.py").is_file() or Path(missing[1], "__init__.py").is_file()):
        return (
            f"Expected the imports of a trusted module to be installed or trusted too, but got {missing[1]}, which "
            f"lies in the current folder; `--trust {missing[1]}` allows it."
        )
    found = re.search(r"Expected (?!an? <class|a dot import|a path)(?=[^\n]*but ).*", message)
    return found[0] if found else None


@contextlib.contextmanager
def trusting(words: Sequence[str]) -> Iterator[list[str]]:
    """Trust the modules that a command line names while its command runs; yields the words without ``--trust``."""
    before = os.environ.get(VARIABLE)
    try:
        others = _take_trust(list(words))
        trust(*_modules_named(others))
        allowed()
        yield others
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


@contextlib.contextmanager
def only_trusted() -> Iterator[None]:
    """Let jsonargparse import trusted modules only, read checked YAML, and build nothing where any type is allowed."""
    import jsonargparse
    from jsonargparse import _common

    settings: dict[str, Any] = _common.parsing_settings
    before = dict(settings)
    try:
        jsonargparse.set_parsing_settings(
            import_path_denylist=["*"], import_path_allowlist=allowed(), instantiate_subclass_spec_in_any=False
        )
        with checked_yaml():
            yield
    finally:
        settings.update(before)


def _trusted_names() -> list[str]:
    return [name for name in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if name]


_INHERITED = frozenset(_trusted_names())  # trusted by the environment of the process


def _take_trust(words: list[str]) -> list[str]:
    """Trust the values of ``--trust`` and return the other words."""
    others: list[str] = []
    while words:
        word = words.pop(0)
        if word != "--trust" and not word.startswith("--trust="):
            others.append(word)
            continue
        value = word.partition("=")[2] if "=" in word else words.pop(0) if words else ""
        trust(*_checked_names([name for name in re.split(r"[,\s]+", value) if name] or [value], "--trust"))
    return others


def _modules_named(words: Sequence[str]) -> Iterator[str]:
    """Modules whose classes or spaces the options of a command line name."""
    option = ""
    for word in words:
        value = word
        if word.startswith("--"):
            option, _, value = word.lstrip("-").partition("=")
        elif word == "-c":  # the next word is a file
            option = "config"
        if re.split(r"[.+]", option)[0] not in SECTIONS:
            continue
        for path in re.findall(r"(?<![\w./\\-])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?![\w./\\-])", value):
            top = path.partition(".")[0]
            if not Path(path).exists() and top not in sys.stdlib_module_names:
                yield top


def _checked_names(names: Sequence[str], where: str) -> Sequence[str]:
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or name.partition(".")[0] == "jsonargparse":
            raise ValueError(f"Expected `{where}` to be names of modules, such as my_space, but got {name!r}.")
    return names


class _CurrentFolder(MetaPathFinder):
    """Finds the modules that the user trusts in the current folder."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if path is None and name in {given.partition(".")[0] for given in _trusted_names()}:
            with contextlib.suppress(OSError):  # the current folder may be deleted
                return PathFinder.find_spec(name, [os.getcwd()])
        return None


sys.meta_path.append(_CurrentFolder())  # last, so that installed modules come first
