"""Which options a command line gives itself, and values in a configuration, also that of an earlier start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from robustnas.runtime.safe_yaml import parse_yaml, read_yaml

HELD = ".init_args"
DEFAULT_EPOCHS = 1000  # of Lightning's trainer


def plain_name(option: str) -> str:
    """An option without ``init_args``, which may be left out on the command line."""
    return option.replace(HELD, "")


def given_options(words: Sequence[str]) -> dict[str, str]:
    """The options of a command line by their plain names, those in a value of JSON or YAML too."""
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        option, equals, value = word[2:].partition("=")
        if not equals:
            value = next(iter(words[place + 1 : place + 2]), "")
        found[plain_name(option)] = value
        if value.lstrip().startswith("{"):
            try:
                inner = parse_yaml(value)
            except yaml.YAMLError:  # the parser of the command will say what is wrong with it
                continue
            found.update((plain_name(f"{option}.{name}"), str(held)) for name, held in _flat(inner))
    return found


def _flat(held: Any) -> Iterator[tuple[str, Any]]:
    for name, value in held.items() if isinstance(held, Mapping) else ():
        yield str(name), value
        yield from ((f"{name}.{inner}", one) for inner, one in _flat(value))


def value_at(sections: Mapping[str, Any], option: str) -> Any:
    """The value of a dotted option in a configuration, ``None`` where there is none."""
    held: Any = sections
    for name in option.split("."):
        held = held.get(name) if isinstance(held, Mapping) else None
    return held


def with_values(sections: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with other values of dotted options."""
    changed = dict(sections)
    for option, value in values.items():
        first, _, rest = option.partition(".")
        changed[first] = with_values(changed.get(first) or {}, {rest: value}) if rest else value
    return changed


def chosen_before(folder: Path, options: Sequence[str]) -> dict[str, Any] | None:
    """The values of options in the configuration of a run that has begun; ``None`` where none has."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    held = read_yaml(path)
    return {option: value_at(held, option) for option in options} if isinstance(held, Mapping) else None


def epochs_of(sections: Mapping[str, Any]) -> int:
    """The epochs of a configuration; where they are not set, or not limited, as many as Lightning takes by default."""
    given = sections["trainer"]["max_epochs"]
    return DEFAULT_EPOCHS if given is None or given < 0 else int(given)
