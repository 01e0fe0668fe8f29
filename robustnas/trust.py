"""What a file from elsewhere may ask for: no code of modules that the user does not trust, and no absurd sizes.

Files name classes and search spaces by import path, and importing a module runs it. So a name out of a file is followed
only if it lies in robustnas or Lightning, or in a module that the user trusts:

- one that the command line names, as in ``--model.space my_space.SPACE`` or ``--trust my_space``;
- one in the environment variable ``ROBUSTNAS_TRUST``, a list with commas;
- in Python, one given to :func:`trust`. A search space may also lie in a module that is imported already.

Checkpoints hold tensors and plain data only, JSON is JSON, arrays hold no pickles, YAML is read by its safe loader.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

OWN = ("robustnas", "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics")
VARIABLE = "ROBUSTNAS_TRUST"
LARGEST = 2**28  # bytes of a record that is read whole; those of long searches have a hundredth
NODES = 100_000  # values in a YAML file, aliases counted as often as they stand for something
SECTIONS = ("data", "diagnostics", "model", "selection", "space", "trainer")  # options whose values name things

_trusted: set[str] = set()


def trust(*modules: str) -> None:
    """Let files name classes and search spaces of modules, in this process.

    Args:
        modules: Names of modules or packages; what lies below them is meant too.

    Raises:
        ValueError: If one is no name of a module.
    """
    _trusted.update(_checked(modules, "module"))


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
    given = [name for name in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if name]
    return sorted({*OWN, *_trusted, *_checked(given, VARIABLE)})


def trusted_modules() -> list[str]:
    """Modules that this process trusts beside those of the environment variable and of the library."""
    return sorted(_trusted)


def refusal(path: str) -> str:
    """The sentence for a name that may not be imported.

    Args:
        path: The import path.

    Returns:
        What is wrong, and what allows it.
    """
    module = path.partition(".")[0]
    return (
        f"Expected names of robustnas, of Lightning or of a module that you trust, but got '{path}', and importing it "
        f"would run code of the module {module}; `--trust {module}` or {VARIABLE}={module} allows it."
    )


def own_sentence(message: str) -> str | None:
    """The sentence of this library that an error of the parser wraps, or ``None``."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        return refusal(denied[1])
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
    before = set(_trusted)
    try:
        others = _take_trust(list(words))
        trust(*_named(others))
        allowed()
        yield others
    finally:
        _trusted.clear()
        _trusted.update(before)


@contextlib.contextmanager
def only_trusted() -> Iterator[None]:
    """Parse options and build what they name, with no import of a module that is not trusted.

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
        yield
    finally:
        settings.update(before)


def check_size(path: Path) -> None:
    """Refuse a file that no record of a search is as large as.

    Args:
        path: The file.

    Raises:
        ValueError: If it is too large.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"Expected {path} to have at most {LARGEST:,} bytes, but got {size:,}.")


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file, without pickles.

    Args:
        data: Content of the file.

    Returns:
        Arrays by name.

    Raises:
        ValueError: If they are too large together once unpacked. A damaged archive raises nearly anything.
    """
    import numpy as np

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (size := sum(member.file_size for member in archive.infolist())) > LARGEST:
            raise ValueError(f"an archive of {size:,} bytes once unpacked, more than {LARGEST:,}")
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }


def read_yaml(path: Path) -> Any:
    """Read a YAML file with the safe loader.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ValueError: If it cannot be read, is no YAML, or its aliases stand for more than a configuration could hold.
    """
    import yaml

    try:
        check_size(path)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if _nodes(content, {}) > NODES:
            raise ValueError(f"aliases that stand for more than {NODES:,} values")
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "it nests too deeply, or holds itself"
    except (ValueError, yaml.YAMLError) as error:  # also dates and numbers that are none
        reason = " ".join(str(error).split())
    else:
        return content
    raise ValueError(f"Expected {path} to be a configuration in YAML, but reading it fails: {reason.rstrip('.')}.")


def _nodes(value: Any, known: dict[int, int]) -> int:
    """Values within a value, each alias counted; what is shared is walked once."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        parts = value if isinstance(value, list) else [*value.values(), *value]
        known[id(value)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(value)]


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
