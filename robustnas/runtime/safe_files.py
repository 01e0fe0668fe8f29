"""Reading files from elsewhere: plain data only, and no more of it than a record could hold.

Every YAML file, JSON document, npz archive and checkpoint is read here. Limits are checked while reading, since what a
file says about its own size may be wrong, and a kilobyte can stand for gigabytes. Nothing in a file is executed.
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

LARGEST = 2**28  # bytes of a record that is read whole; those of long searches have a hundredth
TEXT = 2**24  # bytes of a JSON document; traces of long studies have a tenth
MEMBERS = 30_000  # arrays in an archive; a search has one for each epoch and kind of cell
CHECKPOINT = 2**35  # bytes of a checkpoint; a billion weights with their optimiser take a third
VALUES = 10_000_000  # values of a checkpoint beside its tensors; those of large searches have a thousandth
DEPTH = 100  # of what is nested; configurations nest ten deep
DIGITS = 300  # of a number in JSON: what a float can hold, so that it can be printed and compared


def check_size(path: Path, most: int = LARGEST) -> None:
    """Refuse a file that no record of a search is as large as.

    Args:
        path: The file.
        most: Bytes that it may have.

    Raises:
        ValueError: If it is too large.
    """
    if (size := path.stat().st_size) > most:
        raise ValueError(f"Expected {path} to have at most {most:,} bytes, but got {size:,}.")


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """A file whole, if it has at most so many bytes; a device or a pipe says nothing of its size before it is read.

    Args:
        path: The file.
        most: Bytes that it may have.

    Returns:
        Its content.

    Raises:
        ValueError: If it is too large.
    """
    check_size(path, most)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"Expected {path} to have at most {most:,} bytes, but got more.")
    return data


def check_numbers(value: Any, where: str = "", source: str = "") -> None:
    """Refuse numbers that are not finite, or too long, in plain data.

    Args:
        value: Dicts, lists and what they hold.
        where: Dotted name of the value.
        source: Where it stands, such as `` in config.yaml``.

    Raises:
        ValueError: If there is one; the sentence names it.
    """
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
    """What a JSON document holds.

    Args:
        text: The document; bytes are UTF-8, with a byte order mark or without.

    Returns:
        Its content, with finite numbers.

    Raises:
        ValueError: If it is too long, is no JSON, nests too deeply, or holds a number that is not finite or too long.
            The message says what was found, as a part of a sentence.
    """
    if len(text) > TEXT:
        raise ValueError(f"JSON of more than {TEXT:,} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"bytes that are not UTF-8 text: {error}") from error
    if not text.strip():
        raise ValueError("an empty file")
    text = text.removeprefix("\ufeff")
    try:
        content = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        early = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        raise ValueError(f"{'a truncated file' if early else 'text that is not JSON'}: {error}") from error
    except RecursionError:
        raise ValueError("JSON that nests too deeply") from None
    level = [content]
    for _ in range(DEPTH):
        level = [part for value in level if isinstance(value, (dict, list)) for part in _parts(value)]
        if not level:
            return content
    raise ValueError("JSON that nests too deeply")


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file, without pickles.

    Args:
        data: Content of the file.

    Returns:
        Arrays by name.

    Raises:
        ValueError: If they are too large together once unpacked, or one is no array of numbers or texts. A damaged
            archive raises nearly anything.
    """
    if data.count(b"PK\x01\x02") > MEMBERS:  # before the list of them is made
        raise ValueError(f"an archive of more than {MEMBERS:,} arrays")
    arrays: dict[str, npt.NDArray[Any]] = {}
    left = LARGEST
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            content = _unpacked(archive, member, left)
            left -= len(content)
            arrays[member.filename.removesuffix(".npy")] = _array(member.filename, content)
    return arrays


def load_checkpoint(path: Path) -> Any:
    """What a file of ``torch.save`` holds: tensors and plain data, on the CPU; nothing in it is executed.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ValueError: If the file is larger than a checkpoint can be, is packed, needs code, or holds tensors that stand
            for more numbers than it stores, or what nests too deeply. A damaged file raises nearly anything.
    """
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
    """Refuse a file of ``torch.save`` that unpacks to more than it has, before torch reads it.

    Args:
        path: The file; one of another form is left to torch.

    Raises:
        ValueError: If it is larger than a checkpoint can be, packed, or says to hold more than it does.
    """
    check_size(path, CHECKPOINT)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("an archive that is packed, as torch.save writes none")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("an archive that says to hold more than it does")


def _check_content(content: Any) -> None:
    """Refuse what a few bytes of a checkpoint can blow up: shared parts, which are walked once for each mention."""
    import torch

    sizes: dict[int, int] = {}
    held: list[Any] = []  # so that no id is given twice

    def count(value: Any, depth: int) -> int:
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu":
                raise ValueError("a tensor that is not stored as plain numbers")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of the shape {list(value.shape)} with fewer numbers than that")
        if not isinstance(value, (dict, list, tuple, set)):
            return 1
        if depth > DEPTH:
            raise ValueError("values that nest too deeply, or hold themselves")
        if id(value) not in sizes:
            held.append(value)
            sizes[id(value)] = 1 + sum(count(part, depth + 1) for part in _parts(value))
        if sizes[id(value)] > VALUES:
            raise ValueError(f"more than {VALUES:,} values, those that are shared counted as often as they stand")
        return sizes[id(value)]

    count(content, 0)


def _parts(value: Any) -> Iterable[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else value


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """A member of an archive, whatever the archive says about its size."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"a member {member.filename!r} that is packed in a way numpy does not write")
    with archive.open(member) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"an archive of more than {LARGEST:,} bytes once unpacked")
    return content


def _array(name: str, content: bytes) -> npt.NDArray[Any]:
    """An array of an npy file, whose header is believed only where the bytes after it agree."""
    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(file)
    if kind.kind not in "biufcSU" or kind.itemsize == 0:
        raise ValueError(f"an array {name!r} of {kind}, not of numbers or texts")
    expected, found = math.prod(shape) * kind.itemsize, len(content) - file.tell()
    if min(shape, default=1) < 1 or expected != found:
        raise ValueError(f"an array {name!r} of the shape {list(shape)}, which takes {expected:,} bytes, in {found:,}")
    return np.frombuffer(content, kind, offset=file.tell()).reshape(shape, order="F" if fortran else "C").copy()


def _no_number(text: str) -> float:
    raise ValueError(f"{text}, which is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"a number that is too large: {text[:20]}")
    return number


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)
