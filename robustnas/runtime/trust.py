"""What a file from elsewhere may ask for: no code of modules that the user does not trust.

Files name classes and search spaces by import path, and importing a module runs it. So a name out of a file is followed
only if it lies in robustnas or PyTorch Lightning, or in a module that the user trusts:

- one that the command line names, as in ``--model.space my_space.SPACE`` or ``--trust my_space``;
- one in the environment variable ``ROBUSTNAS_TRUST``, a list with commas;
- in Python, one given to :func:`trust`. A search space may also lie in a module that is imported already.

A module that the user trusts is also found in the current folder, if it is not installed; no other module is, since a
run from elsewhere may bring a file that has the name of an optional dependency.

What is read holds tensors and plain data only, see :mod:`robustnas.runtime.safe_files`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from robustnas.runtime.current_folder import CurrentFolder, missing_beside
from robustnas.runtime.safe_yaml import checked_yaml

OWN = ("robustnas", "pytorch_lightning", "lightning_fabric", "torchmetrics")  # robustnas requires them all
VARIABLE = "ROBUSTNAS_TRUST"
SECTIONS = ("data", "diagnostics", "model", "selection", "space", "trainer")  # options whose values name things


def trust(*modules: str) -> None:
    """Let files name classes and search spaces of modules, in this process and those that it starts.

    Args:
        modules: Names of modules or packages; what lies below them is meant too.

    Raises:
        ValueError: If one is no name of a module.
    """
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*_given(), *_checked(modules, "module")]))


def is_trusted(path: str) -> bool:
    """Whether a name out of a file may be imported.

    Args:
        path: An import path such as ``my_space.SPACE``.

    Returns:
        Whether it lies in robustnas, in Lightning, or in a module that the user trusts.

    Raises:
        ValueError: If ``ROBUSTNAS_TRUST`` holds something else than names of modules.
    """
    return any(path == name or path.startswith(f"{name}.") for name in allowed())


def allowed() -> list[str]:
    """Modules that files may name.

    Returns:
        Their names, each for all that lies below it.

    Raises:
        ValueError: If ``ROBUSTNAS_TRUST`` holds something else than names of modules.
    """
    return sorted({*OWN, *_checked(_given(), VARIABLE)})


def is_import_path(path: object) -> bool:
    """Whether something is a name within a module, such as ``my_space.SPACE``."""
    return isinstance(path, str) and "." in path and all(part.isidentifier() for part in path.split("."))


def trusted_modules() -> list[str]:
    """Modules that this process trusts beside those of the environment variable and of the library."""
    return [name for name in dict.fromkeys(_given()) if name not in _OUTSIDE]


def refusal(path: str) -> str:
    """The sentence for a name that may not be imported.

    Args:
        path: The import path.

    Returns:
        What is wrong, and what allows it.
    """
    if not is_import_path(path):
        return f"Expected an import path, such as my_space.SPACE, but got {path!r}."
    module = path.partition(".")[0]
    return (
        f"Expected names of robustnas, of Lightning or of a module that you trust, but got '{path}', and importing it "
        f"would run code of the module {module}; `--trust {module}` or {VARIABLE}={module} allows it."
    )


def own_sentence(message: str) -> str | None:
    """The sentence of this library that an error of the parser wraps, or ``None``."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        return refusal(denied[1])
    if missing := missing_beside(message):
        return missing
    found = re.search(r"Expected (?!an? <class|a dot import|a path)(?=[^\n]*but ).*", message)
    return found[0] if found else None


@contextlib.contextmanager
def trusting(words: Sequence[str]) -> Iterator[list[str]]:
    """Trust what a command line names, as long as its command runs.

    Args:
        words: The words of the command line.

    Yields:
        The words without ``--trust`` and its values.

    Raises:
        ValueError: If ``--trust`` has no value, or one that is no name of a module.
    """
    before = os.environ.get(VARIABLE)
    try:
        others = _take_trust(list(words))
        trust(*_named(others))
        allowed()
        yield others
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


@contextlib.contextmanager
def only_trusted() -> Iterator[None]:
    """Parse options and build what they name, with no import of a module that is not trusted, and of checked YAML.

    jsonargparse then refuses every other import path that it meets, in whatever file, and builds nothing where a type
    allows anything. Its settings are those of the process, and are put back at the end.

    Yields:
        Nothing.
    """
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


def _given() -> list[str]:
    """What the user trusts, as it is given."""
    return [name for name in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if name]


_OUTSIDE = frozenset(_given())  # what the environment trusted before any command line


def _take_trust(words: list[str]) -> list[str]:
    """The words without ``--trust``, whose values are trusted."""
    others: list[str] = []
    while words:
        word = words.pop(0)
        if word != "--trust" and not word.startswith("--trust="):
            others.append(word)
            continue
        value = word.partition("=")[2] if "=" in word else words.pop(0) if words else ""
        trust(*_checked([name for name in re.split(r"[,\s]+", value) if name] or [value], "--trust"))
    return others


def _named(words: Sequence[str]) -> Iterator[str]:
    """Modules whose classes or spaces the options of a command line name."""
    option = ""
    for word in words:
        value = word
        if word.startswith("--"):
            option, _, value = word.lstrip("-").partition("=")
        elif word == "-c":  # what follows is the name of a file
            option = "config"
        if re.split(r"[.+]", option)[0] not in SECTIONS:
            continue
        for path in re.findall(r"(?<![\w./\\-])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?![\w./\\-])", value):
            top = path.partition(".")[0]
            if not Path(path).exists() and top not in sys.stdlib_module_names:
                yield top


def _checked(names: Sequence[str], where: str) -> Sequence[str]:
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or name.partition(".")[0] == "jsonargparse":
            raise ValueError(f"Expected `{where}` to be names of modules, such as my_space, but got {name!r}.")
    return names


sys.meta_path.append(CurrentFolder(_given))  # last: what is installed comes first
