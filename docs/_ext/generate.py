"""Pages made from the code at every build: API by room, options of commands, configuration keys, picture of rooms."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docstring_parser
import jsonargparse
from rooms import draw, floors

from robustnas.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PLACES = {"variants": ROOT / "variants", "diagnostics": ROOT / "diagnostics"}  # rooms that lie outside of robustnas/


def write_all(*_: Any) -> None:
    """Write all generated pages; files that do not change are left alone, so that a second build is short."""
    for name, text in pages():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Path below ``docs/`` and text of every generated page."""
    rooms = [room for floor in floors() for room in floor]
    listing = "\n".join(f"api/{room}" for room in rooms)
    yield "reference/generated/api.md", API.format(listing=listing)
    for room in rooms:
        yield f"reference/generated/api/{room}.md", room_page(room)
    yield "reference/generated/commands.md", commands_page()
    yield "reference/generated/configuration.md", configuration_page()
    yield "architecture/generated/rooms.svg", draw()


API = """# API

One page a room, from the docstrings. Rooms are listed from the lowest floor up: a room imports only from rooms of lower
floors. The names that a package exports, such as `robustnas.spaces.DARTS`, are documented at the module that defines
them.

```{{toctree}}
:maxdepth: 1

{listing}
```
"""


def modules(room: str) -> list[str]:
    """Modules of a room in the order of the alphabet, the package itself first."""
    folder = PLACES.get(room, ROOT / "robustnas" / room)
    if not folder.is_dir():
        return [f"robustnas.{room}"]
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found.append(".".join(("robustnas", room, *(part for part in parts if part != "__init__"))))
    return sorted(found)


def room_page(room: str) -> str:
    """API of one room."""
    lines = [f"# robustnas.{room}", ""]
    package, *others = modules(room)
    exported = getattr(importlib.import_module(package), "__all__", ())
    if others:
        lines += ["```{eval-rst}", f".. automodule:: {package}", "   :no-members:", "```", ""]
        if exported:
            lines += ["Exports: " + ", ".join(f"`{name}`" for name in exported) + ".", ""]
    for module in others or [package]:
        lines += [f"## {module.removeprefix('robustnas.')}", "", "```{eval-rst}", f".. automodule:: {module}"]
        lines += ["   :members:", "   :show-inheritance:", "   :member-order: bysource", "```", ""]
    return "\n".join(lines)


def parser_of(command: str) -> Any:
    """The parser of a command."""
    module = importlib.import_module(COMMANDS[command][0])
    if hasattr(module, "parser") and command != "fit":  # which has more options, those of LightningCLI
        return module.parser()
    subcommands = jsonargparse.capture_parser(lambda: module.main([command]))._actions
    return next(action for action in subcommands if isinstance(action, argparse._SubParsersAction)).choices[command]


def commands_page() -> str:
    """Options of all commands, from their parsers."""
    lines = ["# Commands", "", "Generated from the parsers. `robustnas COMMAND --help` prints the same.", ""]
    for command, (_, says) in COMMANDS.items():
        lines += [f"## robustnas {command}", "", f"{says[0].upper()}{says[1:]}.", ""]
        parser = parser_of(command)
        subparsers = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if subparsers and command == "table":
            for name, inner in subparsers[0].choices.items():
                lines += [f"### robustnas {command} {name}", "", *options(inner), ""]
            continue
        if command in ("validate", "test"):
            lines += ["Takes the options of `robustnas fit`; `--ckpt_path` names the checkpoint to measure.", ""]
            continue
        lines += options(parser)
        if command == "fit":
            lines += ["", "To plan a run first:", "", *options(importlib.import_module(COMMANDS["fit"][0]).parser())]
            lines += ["", "and every key of [the configuration](configuration.md), such as `--trainer.max_epochs 10`."]
        elif parser.epilog:
            lines += ["", "```text", parser.epilog.strip("\n"), "```"]
        lines += [""]
    return "\n".join(lines)


def options(parser: Any) -> list[str]:
    """A table of options, those of classes left out."""
    lines = ["| option | meaning |", "|---|---|"]
    for action in parser._actions:
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
        inner = any("." in name for name in (action.dest, *action.option_strings)) or action.help == argparse.SUPPRESS
        if inner or action.dest in ("help", "print_shtab") or re.search(r"\.help", names):
            continue
        meaning = " ".join(str(action.help or "").replace("%(default)s", str(action.default)).split())
        if len(meaning) > 250:  # of Lightning: its first sentence says enough here
            meaning = re.split(r"(?<=\.) ", meaning)[0]
        if action.choices:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in action.choices)}."
        lines.append(f"| {names} | {cell(meaning)} |")
    return lines


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def configuration_page() -> str:
    """Keys of YAML files: arguments of every class that one can name."""
    lines = [CONFIGURATION]
    room = importlib.import_module
    training, strategies, networks = (room(f"robustnas.{name}") for name in ("training", "strategies", "networks"))
    variants, data, diagnostics = (room(f"robustnas.{name}") for name in ("variants", "data", "diagnostics"))
    lines += ["## model: searches", "", "All searches take these arguments:", ""]
    lines += keys(training.SearchModule)
    for name in variants.__all__:
        lines += [f"### {name}", "", *keys(getattr(variants, name))]
    lines += ["## model: evaluations", "", *keys(training.EvaluationModule)]
    for name in ("Found", "ResNet"):
        lines += [f"### architecture: {name}", "", *keys(getattr(training, name))]
    lines += ["## Parts of a search", ""]
    for where in (strategies, networks):
        for name, part in parts(where):
            lines += [f"### {name}", "", *keys(part)]
    lines += ["## data", ""]
    for name in data.__all__:
        if isinstance(getattr(data, name), type) and issubclass(getattr(data, name), data.ImageData):
            lines += [f"### {name}", "", *keys(getattr(data, name))]
    lines += ["## diagnostics", "", *keys(diagnostics.Diagnostics)]
    return "\n".join(lines)


CONFIGURATION = """# Configuration keys

Generated from the signatures and docstrings. A key of a class is one of its `init_args` in YAML, and an option on the
command line: `model: {class_path: DARTS, init_args: {channels: 8}}` is `--model DARTS --model.channels 8`. Keys of
`trainer` are those of Lightning's [Trainer](https://lightning.ai/docs/pytorch/stable/common/trainer.html). A part is
given by its class, and its arguments follow: `--model.relaxation GumbelOneHot --model.relaxation.tau_start 5`.
"""


def parts(package: Any) -> Iterator[tuple[str, Any]]:
    """Final classes of a package that subclass an abstract one of it: answers to a question of the search."""
    for name in package.__all__:
        thing = getattr(package, name)
        final = isinstance(thing, type) and not inspect.isabstract(thing) and hasattr(thing, "__dataclass_fields__")
        if final and any(inspect.isabstract(base) for base in thing.__mro__[1:]):
            yield name, thing


def keys(kind: Any) -> list[str]:
    """What a class is, and a table of its arguments."""
    described = docstring_parser.parse(inspect.getdoc(kind) or "", docstring_parser.DocstringStyle.GOOGLE)
    says: dict[str, str] = {}
    for base in (base for base in reversed(kind.__mro__) if base.__doc__):
        parsed = docstring_parser.parse(inspect.cleandoc(base.__doc__), docstring_parser.DocstringStyle.GOOGLE)
        says |= {parameter.arg_name.lstrip("*"): parameter.description or "" for parameter in parsed.params}
    if not any(says) and kind.__init__.__doc__:
        says = {p.arg_name: p.description or "" for p in docstring_parser.parse(kind.__init__.__doc__).params}
    lines = [prose(described.short_description or ""), ""]
    rows = []
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = "required" if parameter.default is parameter.empty else f"`{shown(parameter.default)}`"
        annotation = parameter.annotation if isinstance(parameter.annotation, str) else str(parameter.annotation)
        rows.append(f"| `{name}` | `{cell(annotation)}` | {cell(default)} | {cell(prose(says.get(name, '')))} |")
    return [*lines, "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else lines


def shown(value: Any) -> str:
    """A default in one line, without the space's hundred edges."""
    with suppress(AttributeError):
        return str(value.name) if value.__class__.__name__ == "SearchSpace" else repr(value)
    return repr(value)


def prose(text: str) -> str:
    """RST of a docstring as Markdown."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", " ".join(text.split()))
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([\w]+)`", r"`\1`", text)
    return text.replace("``", "`")
