"""Turn the errors of argparse and jsonargparse into one sentence."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from robustnas.runtime.paths import expand, find_config
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.runtime.trust import is_trusted, own_message

OPTIONS = (
    "checkpoint_every", "ckpt_path", "config", "data", "diagnostics", "matmul_precision", "model", "run-dir",
    "seed_everything", "trainer",
)  # fmt: skip
PATHS = (  # of a class that cannot be imported, or does not fit
    r"import path string: (\S+)",
    r"class_path '([^']+)':\s+(?:module '|No module|Import path)",
    r"does not correspond to a subclass of [^~]*Given value: (?:NestedArg\(key='\w+', val=')?([^\s']+)",
)
FORMS = {  # of options that several types fit
    "genotype": "a file, a run folder or a line that YAML reads as text",
    **dict.fromkeys(("model", "data"), "a class, by name or as class_path and init_args"),
}


class CommandLineError(ValueError):
    """A command line, or a configuration, that does not fit the options of its command."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports errors in one sentence and accepts no abbreviated options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def add_path(self, *names: str, **options: Any) -> None:
        """Add an argument whose values are paths, in which ``~`` and environment variables are expanded."""
        name = names[-1] if names[-1].startswith("-") else options["metavar"]
        self.add_argument(*names, type=path_option(name), **options)

    def error(self, message: str) -> NoReturn:
        """Raise a CommandLineError with argparse's message in one sentence."""
        raise CommandLineError(self._sentence(message))

    def _sentence(self, message: str) -> str:
        if unknown := re.search(r"unrecognized arguments: ([^\s=]*)", message):
            hint = _hint(unknown[1], self._option_string_actions, "; see --help.")
            return f"Expected an option of `{self.prog}`, but got `{unknown[1]}`{hint}"
        if wrong := re.search(r"argument (?:-\w/)?([\w-]+): invalid (\w+) value: (.*)", message):
            return f"Expected `{wrong[1]}` to be {wrong[2]}, but got {wrong[3]}."
        if wrong := re.search(r"argument (?:-\w/)?([\w-]+): invalid choice: (\S+) \(choose from (.*)\)", message):
            return f"Expected `{wrong[1]}` to be one of {wrong[3]}, but got {wrong[2]}."
        return explain(message)


def checked(arguments: Sequence[str]) -> list[str]:
    """Check the YAML files of a command line before it is parsed; names become paths."""
    found: list[str] = []
    for word in arguments:
        option, equals, value = word.partition("=")
        if option in ("-c", "--config") and equals:
            found.append(f"{option}={_configuration(value)}")
        elif found and found[-1] in ("-c", "--config"):
            found.append(_configuration(word))
        else:
            found.append(word)
    return found


def _configuration(name: str) -> str:
    if not name or any(sign in name for sign in ("{", "\n", ": ")):  # YAML itself, which the parser takes too
        return name
    try:
        path = find_config(name)
        read_yaml(path)
    except (OSError, ValueError) as error:
        raise CommandLineError(str(error)) from error
    return str(path)


def path_option(name: str) -> Callable[[str], str]:
    """A type for argparse, of the argument with a name."""

    def read(word: str) -> str:
        if not word:
            raise argparse.ArgumentTypeError(f"Expected `{name}` to be a path, but got ''.")
        try:
            return str(expand(word, name))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    read.reads_paths = True  # type: ignore[attr-defined]  # shell completion offers files and folders
    return read


def check_linked(module: type, argument: str, given: object, read: object) -> None:
    """Refuse a value of a model's argument that contradicts the data, unless it is the argument's default."""
    signatures = (inspect.signature(base).parameters for base in module.__mro__)
    default = next((parameters[argument].default for parameters in signatures if argument in parameters), None)
    if given not in (default, read):
        raise ValueError(
            f"Expected `{argument}` to be {read!r}, as in the data, but got {given!r}; it can be left out."
        )


def explain(message: str) -> str:
    """Say in one sentence what an error of jsonargparse says in ten lines."""
    return (
        own_message(message)
        or _without_value(message)
        or _of_name(message)
        or _of_config(message)
        or _of_value(message)
        or f"Expected valid options, but got: {' '.join(message.split())}"
    )


def _without_value(message: str) -> str | None:
    given = re.search(r"argument (?:-\w/)?(\S+): expected (?:at least )?one argument", message)
    return f"Expected `{given[1]}` to have a value, but got none." if given else None


def _of_name(message: str) -> str | None:
    if unknown := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
        return _unknown(unknown[1], re.findall(r"class_path '([\w.]+)'", message))
    if unknown := re.search(r"[Uu]nrecognized arguments: ([^\s=]+)|does not accept option '([^']+)'", message):
        known = [*OPTIONS, *(f"trainer.{name}" for name in _arguments("pytorch_lightning.Trainer"))]
        option = unknown[1] or unknown[2]
        hint = _hint(option.lstrip("-"), known, "; see --help.")
        return f"Expected an option of the command, but got `{option}`{hint}"
    if missing := re.search(r"arguments are required: (.*)", message):
        names = [re.sub(r"^(fit|validate|test)\.", "", name) for name in missing[1].split(", ")]
        owner = re.findall(r"class_path '(?:[\w.]+\.)?(\w+)'", message)
        where = f" of {owner[-1]}" if owner else ""
        return f"Expected {' and '.join(f'`{name}`' for name in names)}{where} to be given, but got none."
    if missing := re.search(r'Key "([^"]+)" is required', message):
        return f"Expected `{missing[1]}` to be given, but got none."
    return None


def _of_config(message: str) -> str | None:
    failed = re.search(r'(?:Problems parsing config:|Parser key "config":(?= while ))\s*(.*)', message, re.DOTALL)
    if failed:
        return f"Expected `--config` to be YAML, but got text that fails: {' '.join(failed[1].split())}."
    if other := re.search(r"Unexpected config:\s*(.*)", message):
        return f"Expected `--config` to be a YAML file of options with their values, but got {other[1]!r}."
    return None


def _of_value(message: str) -> str | None:
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    values = re.findall(r"Got value: (.*)", message) or re.findall(r"Given value: (.*)", message)
    values = [re.sub(r"^NestedArg\(key='\w+', val='?(.*?)'?\)$", r"\1", value) for value in values]
    path = next((found for pattern in PATHS if (found := re.search(pattern, message))), None)
    if keys and path:
        name = path[1].rpartition(".")[2]
        expected = f"Expected `{keys[-1]}` to be the name or import path of a class that fits"
        return f"{expected}, but got {path[1]!r}{_hint(name, sorted(_classes() - {name}), '.')}"
    if not (keys and values):
        return None
    kinds = [kind for kind in re.findall(r"Expected an? <class '([\w.]+)'>", message) if kind != "NoneType"]
    literals = re.findall(r"Expected an? (?:typing\.)?Literal\[(.*?)\]", message)
    if literals and not kinds:
        return f"Expected `{keys[-1]}` to be one of {', '.join(literals)}, but got {values[-1]!r}."
    if (form := FORMS.get(keys[-1])) is not None:
        return f"Expected `{keys[-1]}` to be {form}, but got {values[-1]}."
    several = re.search(r"Expected (an? (?:tuple|list) with [^.\n]*)", message)
    part = re.search(r"<class '(?!NoneType)[\w.]+'>\. Got value", message)  # the value is one of a list
    options = [] if part else literals[-1:]
    wanted = " or ".join(dict.fromkeys([*options, *(kinds[-1:] if len(keys) > 1 else kinds)]))
    wanted = wanted or (several[1] if several else "of another type")
    return f"Expected `{keys[-1]}` to be {wanted}, but got {values[-1]!r}."


def _unknown(option: str, class_paths: list[str]) -> str:
    known = [sorted(_arguments(path) - {"args", "kwargs"}) for path in class_paths]
    where = f" of {class_paths[-1].rpartition('.')[2]}" if class_paths else ""
    others = f", which has {', '.join(known[-1])}." if known and known[-1] else "."
    hint = _hint(option.rpartition(".")[2], sorted({*itertools.chain(*known)}), others)
    return f"Expected an option{where}, but got `{option}`{hint}"


def _hint(word: str, known: Iterable[str], otherwise: str) -> str:
    """Ask whether the known word was meant that is closest to one, where one is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else otherwise


def _classes() -> set[str]:
    """Names of the classes that a YAML file can give without their modules."""
    modules = (sys.modules.get(f"robustnas.{name}") for name in ("variants", "training", "data", "strategies"))
    return {name for module in modules if module for name, value in vars(module).items() if inspect.isclass(value)}


def _arguments(path: str) -> set[str]:
    module, _, name = path.rpartition(".")
    if not is_trusted(path):  # the text of a message may come from a file
        return set()
    try:
        bases = getattr(importlib.import_module(module), name).__mro__
    except (ImportError, AttributeError, ValueError):
        return set()
    # Variants pass **shared on, so that some arguments are declared by their bases.
    own = (base for base in bases if base is bases[0] or base.__module__.startswith(("robustnas", "pytorch_lightning")))
    return {argument for base in own for argument in inspect.signature(base).parameters} - {"shared", "arguments"}
