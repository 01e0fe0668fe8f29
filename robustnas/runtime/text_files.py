"""Reading files that users or other tools wrote.

Text is UTF-8. A byte order mark, as Windows programs write it, is dropped; lines may end as on any system.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

from robustnas.runtime import safe_files
from robustnas.runtime.safe_files import MAX_BYTES

GZIP = b"\x1f\x8b"  # never the start of UTF-8 text
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file; one that is missing, too large or unreadable raises a ``ValueError``."""
    try:
        return safe_files.read_bytes(Path(path))
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"Expected {path} to be a file that can be read, but got {got}.") from error


def read_text(path: str | Path) -> str:
    """Read a text file, gzipped or not, without its byte order mark; line ends are kept."""
    data = read_bytes(path)
    packed = data.startswith(GZIP) or Path(path).suffix == ".gz"
    return decode(_unpacked(data, path) if packed else data, path)


def decode(data: bytes, source: object) -> str:
    """Decode UTF-8 without the byte order mark; ``source`` names the origin in the ``ValueError``."""
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
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected {path} to be a complete gzip file, but unpacking it fails: {error}.") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"Expected {path} to have at most {MAX_BYTES:,} bytes once unpacked, but got more.")
    return content
