"""Paths with ``~`` and environment variables, and configurations that come with robustnas."""

from __future__ import annotations

import difflib
import os
import re
from importlib.resources import files
from pathlib import Path


def expand(path: str | os.PathLike[str], name: str) -> Path:
    """Replace ``~`` and environment variables in a path as a shell does; a file may have ``$`` in its name."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"Expected `{name}` to be a path, but got {path!r}.")
    text = os.fspath(path)
    unset = [one for pair in re.findall(r"\$(\w+)|\$\{(\w+)\}", text) if (one := "".join(pair)) not in os.environ]
    if unset and not os.path.lexists(text):
        raise ValueError(
            f"Expected `{name}` to be a path whose environment variables are set, but got {text!r}, and {unset[0]} is "
            "not set."
        )
    expanded = os.path.expanduser(text if unset else os.path.expandvars(text))
    if re.match(r"~\w", expanded) and not os.path.lexists(expanded):
        user = re.split(r"[/\\]", expanded)[0]
        raise ValueError(
            f"Expected `{name}` to begin with the home folder of a user, but got {text!r}, and there is no {user}."
        )
    return Path(expanded)


def shipped_config(name: str, folder: str = "") -> Path | None:
    """The configuration of this name that comes with robustnas (``.yaml`` may be left out), or ``None``."""
    parts = Path(name.removeprefix("configs/")).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        return None
    path = _folder().joinpath(folder, *parts)
    path = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
    return path if path.is_file() else None


def find_config(name: str, argument: str = "--config", beside: Path | None = None) -> Path:
    """Find a configuration file in ``beside``, the working directory, or among those that come with robustnas."""
    given = expand(name, argument)
    for path in ([] if beside is None else [beside / given]) + [given]:
        if path.is_file():
            return path
    if (shipped := shipped_config(name)) is not None:
        return shipped
    close = _close(given, beside)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    got = "a folder" if given.is_dir() else f"there is no such file{' beside the study' if beside else ''}"
    raise ValueError(
        f"Expected `{argument}` to be a YAML file or the name of one that comes with robustnas, but got {name!r}: "
        f"{got}{hint or '.'}"
    )


def _folder() -> Path:
    return Path(str(files("robustnas.configs")))


def _close(given: Path, beside: Path | None) -> list[str]:
    """Names of configurations that resemble the given one."""
    shipped = [path.relative_to(_folder()).as_posix() for path in _folder().rglob("*.yaml")]
    names = [name for name in sorted(shipped) if not name.startswith(("studies/", "tunings/"))]
    for folder in (given.parent, *([] if beside is None else [beside])):
        names += [path.as_posix() for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern)]
    known = {key: name for name in names for key in (Path(name).stem, Path(name).with_suffix("").as_posix())}
    wanted = (given.stem, given.with_suffix("").as_posix()) if given.name else ()
    close = (known[key] for one in wanted for key in difflib.get_close_matches(one, known, n=3))
    return list(dict.fromkeys(close))[:3]
