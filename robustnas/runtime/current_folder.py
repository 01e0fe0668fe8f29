"""Modules of the user's own that lie in the current folder: those that are trusted are found there, and no others."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


class CurrentFolder(MetaPathFinder):
    """Finds trusted modules in the current folder.

    Args:
        trusted: Gives the names of modules that the user trusts.
    """

    def __init__(self, trusted: Callable[[], Collection[str]]) -> None:
        self.trusted = trusted

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if path is None and name in {given.partition(".")[0] for given in self.trusted()}:
            with contextlib.suppress(OSError):  # of a folder that is gone
                return PathFinder.find_spec(name, [os.getcwd()])
        return None


def missing_beside(message: str) -> str | None:
    """The sentence for a module that a trusted one imports, and that lies in the current folder but is not trusted.

    Args:
        message: What an error says.

    Returns:
        The sentence, or ``None`` if the error is another one.
    """
    sought = re.search(r"No module named '(\w+)'", message)
    if sought is None or not (Path(f"{sought[1]}.py").is_file() or Path(sought[1], "__init__.py").is_file()):
        return None
    return (
        f"Expected what a trusted module imports to be installed or trusted too, but got {sought[1]}, which lies in "
        f"the current folder; `--trust {sought[1]}` allows it."
    )
