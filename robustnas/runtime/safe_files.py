"""Safe reading of files from elsewhere: plain data only, of limited size; nothing in a file is executed.

Every YAML file, JSON document, npz archive and checkpoint is read here. Limits are checked while reading, since the
size that a file declares may be wrong, and a kilobyte can expand to gigabytes.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_BYTES = 2**28  # bytes of a record that is read at once; long searches have a hundredth
MAX_JSON_BYTES = 2**24  # bytes of a JSON document; long studies have a tenth
MAX_ARRAYS = 30_000  # arrays in an archive; a search has one for each epoch and kind of cell
MAX_CHECKPOINT_BYTES = 2**35  # bytes of a checkpoint; a billion weights with their optimiser need a third
MAX_VALUES = 10_000_000  # values of a checkpoint besides tensors; large searches have a thousandth
MAX_DEPTH = 100  # of nested values; configurations have ten levels
MAX_DIGITS = 300  # of an integer in JSON: as many as a float can hold


def check_size(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a file of more than ``max_bytes``."""
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"Expected {path} to have at most {max_bytes:,} bytes, but got {size:,}.")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file of at most ``max_bytes``; the limit also holds for devices and pipes, which declare no size."""
    check_size(path, max_bytes)
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"Expected {path} to have at most {max_bytes:,} bytes, but got more.")
    return data


def check_numbers(value: Any, where: str = "", source: str = "") -> None:
    """Refuse numbers that are not finite or longer than 64 bits; ``where`` is the dotted name of ``value``."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Expected `{where}` to be a finite number, but got {value}{source}.")
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError(f"Expected `{where}` to be a number of at most 64 bits, but got {value.bit_length()}{source}.")
    if isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            check_numbers(part, f"{where}[{number}]", source)
    elif isinstance(value, dict):
        for name, part in value.items():
            check_numbers(part, f"{where}.{name}" if where else str(name), source)


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON document (bytes are UTF-8); the ``ValueError`` says what was found, as a part of a sentence."""
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"JSON of more than {MAX_JSON_BYTES:,} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"bytes that are not UTF-8 text: {error}") from error
    if not text.strip():
        raise ValueError("an empty file")
    text = text.removeprefix("\ufeff")
    try:
        content = json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        early = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        raise ValueError(f"{'a truncated file' if early else 'text that is not JSON'}: {error}") from error
    except RecursionError:
        raise ValueError("JSON that nests too deeply") from None
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [part for value in level if isinstance(value, (dict, list)) for part in _parts(value)]
        if not level:
            return content
    raise ValueError("JSON that nests too deeply")


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an npz file without pickles; a damaged archive raises nearly any error."""
    if data.count(b"PK\x01\x02") > MAX_ARRAYS:  # checked before zipfile lists them
        raise ValueError(f"an archive of more than {MAX_ARRAYS:,} arrays")
    arrays: dict[str, npt.NDArray[Any]] = {}
    left = MAX_BYTES
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            content = _unpacked(archive, member, left)
            left -= len(content)
            arrays[member.filename.removesuffix(".npy")] = _array(member.filename, content)
    return arrays


def load_checkpoint(path: Path) -> Any:
    """Read tensors and plain data of a ``torch.save`` file to the CPU; a damaged file raises nearly any error."""
    import torch

    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose own words advise to execute the file
        code = re.search(r"unsupported (?:global|class|type)\W+(?:global )?([\w.]+)", str(error), re.IGNORECASE)
        reason = (
            f"it needs the code of {code[1]}, which is not run" if code else "no file of torch.save, or a damaged one"
        )
        raise ValueError(reason) from error
    _check_content(content)
    return content


def check_archive(path: Path) -> None:
    """Refuse a ``torch.save`` file that is too large, compressed, or declares more bytes than it has."""
    check_size(path, MAX_CHECKPOINT_BYTES)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a compressed archive, which torch.save does not write")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("an archive that declares more bytes than it has")


def _check_content(content: Any) -> None:
    """Refuse a checkpoint whose shared parts expand to too many values: they are traversed once for each reference."""
    import torch

    sizes: dict[int, int] = {}
    held: list[Any] = []  # keeps the values alive, so that ids stay unique

    def count(value: Any, depth: int) -> int:
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu":
                raise ValueError("a tensor that is sparse or not on the CPU")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of the shape {list(value.shape)} whose storage is smaller than that")
        if not isinstance(value, (dict, list, tuple, set)):
            return 1
        if depth > MAX_DEPTH:
            raise ValueError("values that nest too deeply or contain themselves")
        if id(value) not in sizes:
            held.append(value)
            sizes[id(value)] = 1 + sum(count(part, depth + 1) for part in _parts(value))
        if sizes[id(value)] > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values, shared ones counted at each reference")
        return sizes[id(value)]

    count(content, 0)


def _parts(value: Any) -> Iterable[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else value


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """Unpack a member of an archive, whatever size it declares."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"a member {member.filename!r} with a compression that numpy does not use")
    with archive.open(member) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"an archive of more than {MAX_BYTES:,} bytes once unpacked")
    return content


def _array(name: str, content: bytes) -> npt.NDArray[Any]:
    """Parse an npy file, whose header must agree with the number of bytes after it."""
    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if kind.kind not in "biufcSU" or kind.itemsize == 0:
        raise ValueError(f"an array {name!r} of {kind}, not of numbers or texts")
    expected, found = math.prod(shape) * kind.itemsize, len(content) - file.tell()
    if min(shape, default=1) < 1 or expected != found:
        raise ValueError(
            f"an array {name!r} of the shape {list(shape)}, which needs {expected:,} bytes but has {found:,}"
        )
    return np.frombuffer(content, kind, offset=file.tell()).reshape(shape, order="F" if fortran else "C").copy()


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text}, which JSON does not allow")


def _parse_float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"a number that is too large: {text[:20]}")
    return number


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)
