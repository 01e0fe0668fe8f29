"""Reading a file as bytes or as text, the same for everything that users or other tools wrote.

Text is UTF-8. A byte order mark, as Windows programs write it, is dropped; line ends may be those of any system.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

from robustnas.runtime import safe_files
from robustnas.runtime.safe_files import LARGEST

GZIP = b"\x1f\x8b"  # no text in UTF-8 begins like this
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        ValueError: If it is missing, too large or cannot be read.
    """
    try:
        return safe_files.read_bytes(Path(path))
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"Expected {path} to be a file that can be read, but got {got}.") from error


def read_text(path: str | Path) -> str:
    """The content of a text file, gzipped or not, without a byte order mark.

    Args:
        path: The file.

    Returns:
        Its text, line ends as they are.

    Raises:
        ValueError: If it cannot be read, is too large or is not UTF-8.
    """
    data = read_bytes(path)
    packed = data.startswith(GZIP) or Path(path).suffix == ".gz"
    return decode(_unpacked(data, path) if packed else data, path)


def decode(data: bytes, source: object) -> str:
    """The text that bytes hold, without a byte order mark.

    Args:
        data: The bytes.
        source: Where they come from, for the error.

    Returns:
        The text.

    Raises:
        ValueError: If they are not UTF-8, or hold a zero byte, which no text does.
    """
    if data.startswith(UTF16) or b"\0" in data:
        got = "UTF-16" if data.startswith(UTF16) else "a byte 0x00, as UTF-16 and binary files have"
        raise ValueError(f"Expected {source} to be text in UTF-8, but got {got}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(data[: error.start].splitlines()) or 1
        raise ValueError(
            f"Expected {source} to be text in UTF-8, but got the byte 0x{data[error.start]:02x} in line {line}, "
            "as other encodings such as Latin-1 have."
        ) from error


def _unpacked(data: bytes, path: str | Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected {path} to be a whole gzip file, but unpacking it fails: {error}.") from error
    if len(content) > LARGEST:
        raise ValueError(f"Expected {path} to have at most {LARGEST:,} bytes once unpacked, but got more.")
    return content
