"""Files that are written whole or not at all, whatever the moment of a kill.

A file that is being written lies beside its place, hidden, as ``.NAME.NUMBER.tmp``. What a kill leaves of it is taken
away by the next start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["clean", "keep", "write_bytes", "write_text", "writing"]


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file so that whoever reads ``path`` finds the old content or the new, whole, also after a crash.

    The bytes go to a hidden file in the same folder, are forced to disk, and the file then takes the name. Folders
    that are missing are made.

    Args:
        path: The file.

    Yields:
        A file to write the new content to. An exception leaves ``path`` as it was.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    with contextlib.suppress(FileExistsError):  # opening says better what is wrong
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
            raise OSError(error.errno, error.strerror, str(path)) from error  # no space left, say, but for what
        raise
    with contextlib.suppress(OSError):  # the name reaches the disk too, where a folder can be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file as :func:`writing` does.

    Args:
        path: The file.
        data: Its content.
    """
    with writing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write a text file in UTF-8 as :func:`writing` does, line ends as given.

    Half characters, which stand for bytes of file names that are no text, are written as ``\udcff``.

    Args:
        path: The file.
        text: Its content.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def keep(path: str | os.PathLike[str], name: str) -> None:
    """Give a file that is about to be replaced a second name, under which it stays; it is never without its own.

    Args:
        path: The file; where there is none, nothing happens.
        name: The second name, in the same folder. What had it before is gone.
    """
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
        hidden.unlink(missing_ok=True)  # replacing a link by another link to the same file leaves both


def clean(folder: str | os.PathLike[str], age: float = 0.0) -> None:
    """Remove what interrupted writes have left in a folder and its subfolders.

    Args:
        folder: The folder. Nobody else may be writing into it, except in the last ``age`` seconds.
        age: Seconds for which an unfinished file is left alone.
    """
    for hidden in Path(folder).rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - hidden.stat().st_mtime >= age:
                hidden.unlink()


def _beside(path: Path) -> Path:
    if not path.name:  # . and /
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
