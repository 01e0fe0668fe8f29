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
    if own := own_sentence(message):
        return own
    if unknown := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
        return _unknown(unknown[1], re.findall(r"class_path '([\w.]+)'", message))
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)", message):
        return f"Expected an option of the command, but got `{unknown[1]}`; see --help."
    if missing := re.search(r'Key "([^"]+)" is required', message):
        return f"Expected `{missing[1]}` to be given, but it is not."
    if '"config"' in message and (file := re.search(r"(?:not exist|or invalid)[:\s']*([^'\n]*)", message)):
        return f"Expected `--config` to be a YAML file, but got {file[1]!r}."
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    values = re.findall(r"Got value: (.*)", message) or re.findall(r"Given value: (.*)", message)
    if keys and (path := re.search(r"import path string: (\S+)", message)):
        return f"Expected `{keys[-1]}` to be the name or import path of a class, but got {path[1]!r}."
    if keys and values:
        kinds = [kind for kind in re.findall(r"Expected an? <class '([\w.]+)'>", message) if kind != "NoneType"]
        literal = re.search(r"(?:typing\.)?Literal\[(.*?)\]", message)
        if literal and not kinds:
            return f"Expected `{keys[-1]}` to be one of {literal[1]}, but got {values[-1]!r}."
        wanted = " or ".join(dict.fromkeys(kinds[-1:] if len(keys) > 1 else kinds)) or "of another type"
        return f"Expected `{keys[-1]}` to be {wanted}, but got {values[-1]!r}."
    return f"Expected options that make sense, but got: {' '.join(message.split())}"


def own_sentence(message: str) -> str | None:
    """The sentence of this library that an error of the parser wraps, or ``None``."""
    found = re.search(r"Expected (?!an? <class|a dot import|a path)(?=[^\n]*but ).*", message)
    return found[0] if found else None


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
