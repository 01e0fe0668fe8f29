"""Errors of the command line in one sentence."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re


def explain(message: str) -> str:
    """Say in one sentence what an error of the argument parser says in ten lines.

    Args:
        message: The parser's message.

    Returns:
        A sentence that names the option, what was expected, and what came.
    """
    if own := re.search(r"Expected `[^`]+` .*?(?=\n|$)", message):
        return own[0]
    if unknown := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
        return _unknown(unknown[1], re.findall(r"class_path '([\w.]+)'", message))
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)", message):
        return f"Expected an option of the command, but got `{unknown[1]}`; see --help."
    if missing := re.search(r'Key "([^"]+)" is required', message):
        return f"Expected `{missing[1]}` to be given, but it is not."
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    values = re.findall(r"Got value: (.*)", message) or re.findall(r"Given value: (.*)", message)
    if keys and (path := re.search(r"import path string: (\S+)", message)):
        return f"Expected `{keys[-1]}` to be the name or import path of a class, but got {path[1]!r}."
    if keys and values:
        kinds = [kind for kind in re.findall(r"Expected an? <class '([\w.]+)'>", message) if kind != "NoneType"]
        wanted = " or ".join(dict.fromkeys(kinds[-1:] if len(keys) > 1 else kinds)) or "something else"
        return f"Expected `{keys[-1]}` to be {wanted}, but got {values[-1]!r}."
    return " ".join(line.strip() for line in message.splitlines() if line.strip())


def _unknown(option: str, class_paths: list[str]) -> str:
    known = sorted({name for path in class_paths for name in _arguments(path)})
    where = f" of {class_paths[-1].rpartition('.')[2]}" if class_paths else ""
    close = difflib.get_close_matches(option.rpartition(".")[2], known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else f", which has {', '.join(known)}." if known else "."
    return f"Expected an option{where}, but got `{option}`{hint}"


def _arguments(path: str) -> set[str]:
    module, _, name = path.rpartition(".")
    try:
        bases = getattr(importlib.import_module(module), name).__mro__
    except (ImportError, AttributeError, ValueError):
        return set()
    # Variants pass on **shared, so the names lie with their bases.
    own = (base for base in bases if base.__module__.startswith("robustnas"))
    return {argument for base in own for argument in inspect.signature(base).parameters} - {"shared", "arguments"}
