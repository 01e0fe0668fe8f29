"""What a run leaves on disk (docs/reference/file_formats.md), written whole or not at all, and how it is read back.

Nothing here executes code from a file: JSON, and arrays without pickles. What cannot be read gives a ``ValueError``
that names the file and what is wrong with it.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.runtime.atomic_files import write_bytes, write_text
from robustnas.runtime.environment import environment
from robustnas.runtime.paths import expand
from robustnas.runtime.safe_files import parse_json, read_arrays
from robustnas.runtime.text_files import decode, read_bytes, read_text
from robustnas.spaces import Genotype, SearchSpace, is_genotype_text, parse_genotype

__all__ = ["Run", "environment", "read_genotype", "read_json", "write_bytes", "write_json", "write_text"]

SCHEMA = 1
Array = npt.NDArray[Any]


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write a JSON file as :func:`write_bytes` does, indented by two; tuples come back as lists.

    Raises:
        ValueError: If JSON cannot hold ``data``. The file is then as it was.
    """
    try:
        text = json.dumps(data, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected `data` for {os.fspath(path)} to be dicts, lists, strings and finite numbers, "
            f"but got a value that JSON refuses: {error}."
        ) from error
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file; a ``ValueError`` if it is missing, cannot be read, is truncated or is not JSON."""
    text = decode(read_bytes(os.fspath(path)), os.fspath(path))
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"Expected `{os.fspath(path)}` to be JSON, but got {error}.") from error


@dataclass(frozen=True)
class Run:
    """The folder of one run, made at the first write.

    Every file replaces the one before it. Where several processes share a run, one of them writes.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write how the run came about: configuration, seeds, data roles, :func:`environment`; `schema` is set here."""
        if "schema" in manifest:
            raise ValueError(f"Expected `manifest` to leave out 'schema', but got {manifest['schema']!r}.")
        write_json(self.path / "manifest.json", {"schema": SCHEMA, **manifest})

    @property
    def manifest(self) -> dict[str, Any]:
        """What :meth:`write_manifest` was given."""
        path = self._existing("manifest.json", "which a run writes when it starts")
        data = read_json(path)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            got = repr(data.get("schema")) if isinstance(data, dict) else f"a {type(data).__name__}"
            raise ValueError(f"Expected `{path}` to be an object of schema version {SCHEMA}, but got {got}.")
        return {key: value for key, value in data.items() if key != "schema"}

    def write_genotype(self, genotype: Genotype, epoch: int | None = None) -> None:
        """Write the genotype after an epoch, or for ``None`` the one that the search ended with."""
        write_text(self.path / _genotype_name(epoch), genotype.to_json())

    def genotype(self, epoch: int | None = None) -> Genotype:
        """The genotype after an epoch, for ``None`` the last of the search; refused if missing or damaged."""
        origin = "which a finished search writes" if epoch is None else "which the search writes after that epoch"
        path = self._existing(_genotype_name(epoch), origin)
        read_json(path)  # a damaged file is named
        try:
            return Genotype.from_json(read_text(path))
        except ValueError as error:
            raise ValueError(f"Expected `{path}` to hold a genotype, but got a file that fails: {error}") from error

    def genotypes(self) -> dict[int, Genotype]:
        """Every epoch's genotype that was written, in the order of the epochs."""
        return {epoch: self.genotype(epoch) for epoch, _ in self._epochs("genotypes", "json")}

    def write_alpha(self, epoch: int, alpha: Mapping[str, npt.ArrayLike]) -> None:
        """Write α after an epoch: kind of cell to real numbers, ``[edges, operations]``; they keep their type."""
        arrays = {kind: np.asarray(values) for kind, values in alpha.items()}
        if not arrays or any(array.dtype.kind not in "iuf" for array in arrays.values()):
            got = {kind: str(array.dtype) for kind, array in arrays.items()}
            raise ValueError(f"Expected `alpha` to hold real numbers for each kind of cell, but got {got}.")
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as members:
            for kind, array in arrays.items():
                with members.open(f"{kind}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        write_bytes(self.path / _epoch_name("alpha", epoch, "npz"), archive.getvalue())

    def alphas(self) -> dict[int, dict[str, Array]]:
        """Every epoch's α that was written, ``[edges, operations]`` by kind of cell, in the order of the epochs."""
        return {epoch: _read_arrays(path) for epoch, path in self._epochs("alpha", "npz")}

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint to resume from lies, whether or not it is there yet."""
        return self.path / "last.ckpt"

    def _existing(self, name: str, origin: str) -> Path:
        path = self.path / name
        if path.exists():
            return path
        held = sorted(file.name for file in self.path.glob("[!.]*"))
        got = f"a folder with {held}" if self.path.is_dir() else "no such folder"
        raise ValueError(f"Expected `{self.path}` to hold {name}, {origin}, but got {got}.")

    def _epochs(self, folder: str, ending: str) -> Iterator[tuple[int, Path]]:
        named = ((re.fullmatch(rf"epoch_(\d+)\.{ending}", path.name), path) for path in (self.path / folder).glob("*"))
        return iter(sorted((int(match[1]), path) for match, path in named if match))


def read_genotype(source: str, space: SearchSpace | None = None, name: str = "`genotype`") -> Genotype:
    """Return the genotype that a text, a file or a run holds.

    Args:
        source: A genotype in any form that :func:`~robustnas.spaces.parse_genotype` reads, a file that holds such a
            text, or the folder of a run. What exists under that name is read.
        space: The search space, for forms that name none.
        name: What an error calls the source.

    Raises:
        ValueError: If there is none, or there are several.
    """
    path = Path(source) if is_genotype_text(source) else expand(source, "genotype")
    try:
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds what no name can
        folder = file = False
    if folder:
        return Run(path).genotype()
    if not file:
        if is_genotype_text(source):
            return parse_genotype(source, space)
        raise ValueError(
            f"Expected {name} to be a genotype as text, a file that holds one or a run folder, but got "
            f"{source[:200]!r}, and there is no such file or folder."
        )
    text = read_text(path)
    try:
        return parse_genotype(text, space)
    except ValueError as error:
        raise ValueError(f"Expected {path} to hold a genotype. {error}") from error


def _genotype_name(epoch: int | None) -> str:
    return "genotype.json" if epoch is None else _epoch_name("genotypes", epoch, "json")


def _epoch_name(folder: str, epoch: int, ending: str) -> str:
    if epoch < 0:
        raise ValueError(f"Expected `epoch` to be 0 or larger, but got {epoch}.")
    return f"{folder}/epoch_{epoch:04d}.{ending}"


def _read_arrays(path: Path) -> dict[str, Array]:
    data = read_bytes(path)
    try:
        return read_arrays(data)
    except Exception as error:  # a damaged archive fails in any of a dozen ways
        raise ValueError(f"Expected `{path}` to hold arrays, but got a file that fails: {error}.") from error
