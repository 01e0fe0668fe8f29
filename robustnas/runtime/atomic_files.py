"""Atomic writes: after a crash a file has its old content or its new content, never a part of it.

An unfinished file lies in the same folder as ``.NAME.NUMBER.tmp``; the next start of the run removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that is forced to disk, then replaces ``path``; an exception leaves ``path`` as it was."""
    path = Path(path)
    with contextlib.suppress(FileExistsError):  # opening the file raises a clearer error
        path.parent.mkdir(parents=True, exist_ok=True)
    hidden = _beside(path)
    try:
        with hidden.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            hidden.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(hidden)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # such as no space left: name the file
        raise
    with contextlib.suppress(OSError):  # force the new name to disk too, if folders can be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically."""
    with open_atomically(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write a text file atomically in UTF-8; surrogates, for undecodable bytes, are escaped (``\udcff``)."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def keep_copy(path: str | os.PathLike[str], name: str) -> None:
    """Give an existing file a second name in its folder, before it is replaced; the file is never missing meanwhile."""
    path = Path(path)
    if not path.exists():
        return
    hidden = _beside(path)
    try:
        try:
            os.link(path, hidden)
        except OSError:  # not all file systems have links
            shutil.copyfile(path, hidden)
        os.replace(hidden, path.with_name(name))
    finally:
        hidden.unlink(missing_ok=True)  # os.replace keeps both names if they link to the same file


def remove_unfinished(folder: str | os.PathLike[str], age: float = 0.0) -> None:
    """Remove unfinished files below ``folder`` that are at least ``age`` seconds old."""
    for hidden in Path(folder).rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - hidden.stat().st_mtime >= age:
                hidden.unlink()


def _beside(path: Path) -> Path:
    if not path.name:  # . and /
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
