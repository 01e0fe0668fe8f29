"""Paths as users write them: with ``~`` and environment variables, and configurations that come with robustnas."""

from __future__ import annotations

import difflib
import os
import re
from importlib.resources import files
from pathlib import Path


def expand(path: str | os.PathLike[str], name: str) -> Path:
    """A path with ``~`` and environment variables replaced, as a shell would.

    Args:
        path: The path, as it was given in an option or a file. A name that has a ``$`` itself is left as it is where
            there is such a file.
        name: What to call it in messages.

    Returns:
        The path.

    Raises:
        ValueError: If a variable is not set, or there is no such user.
    """
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
        raise ValueError(f"Expected `{name}` to begin with the home folder of a user, but got {text!r}: no {user}.")
    return Path(expanded)


def shipped_config(name: str, folder: str = "") -> Path | None:
    """A configuration that comes with robustnas.

    Args:
        name: Its name, such as ``my_images``, ``my_images.yaml`` or ``spaces/s2.yaml``.
        folder: Folder of the configurations to look in.

    Returns:
        The file, or ``None`` if there is none of that name.
    """
    parts = Path(name.removeprefix("configs/")).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        return None
    path = _folder().joinpath(folder, *parts)
    path = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
    return path if path.is_file() else None


def find_config(name: str, argument: str = "--config", beside: Path | None = None) -> Path:
    """A configuration file: from the working directory, or one that comes with robustnas.

    Args:
        name: The file; the ending may be left out of one that comes with robustnas.
        argument: What names it, for the message.
        beside: A folder to look in first.

    Returns:
        Its path.

    Raises:
        ValueError: If there is none.
    """
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
    """Names of configurations that are nearly the one that was given."""
    shipped = [path.relative_to(_folder()).as_posix() for path in _folder().rglob("*.yaml")]
    names = [name for name in sorted(shipped) if not name.startswith("studies/")]
    for folder in (given.parent, *([] if beside is None else [beside])):
        names += [path.as_posix() for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern)]
    known = {key: name for name in names for key in (Path(name).stem, Path(name).with_suffix("").as_posix())}
    wanted = (given.stem, given.with_suffix("").as_posix()) if given.name else ()
    close = (known[key] for one in wanted for key in difflib.get_close_matches(one, known, n=3))
    return list(dict.fromkeys(close))[:3]
