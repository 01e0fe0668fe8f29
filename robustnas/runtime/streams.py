"""Standard output and error of a command, whose readers may go away, as ``head`` does after ten lines."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

BROKEN = 141  # 128 and the number of SIGPIPE, as shells have it


class Unbroken:
    """A stream that goes on taking text after its reader has gone; what comes then is lost.

    Args:
        stream: Where the text goes.

    Attributes:
        broken: Whether the reader has gone.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.broken = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        with self._watched():
            return self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write some texts, or lose them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._watched():
            self._stream.flush()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.broken = True
            with contextlib.suppress(OSError, ValueError):  # what is still held back goes to nowhere, without an error
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


class Streams:
    """Both streams of a command."""

    def __init__(self) -> None:
        self.both = (Unbroken(sys.stdout or _nowhere()), Unbroken(sys.stderr or _nowhere()))

    def status(self, status: int) -> int:
        """The exit status of a command, which a broken pipe changes where all else went well.

        Args:
            status: What the command ended with.

        Returns:
            That, or 141.
        """
        for stream in self.both:
            stream.flush()
        return BROKEN if status == 0 and any(stream.broken for stream in self.both) else status


@contextmanager
def unbroken() -> Iterator[Streams]:
    """Let a command do its work to the end where nobody reads any more what it prints.

    Yields:
        The streams.
    """
    before, streams = (sys.stdout, sys.stderr), Streams()
    sys.stdout, sys.stderr = streams.both
    try:
        yield streams
    finally:
        sys.stdout, sys.stderr = before


def _nowhere() -> TextIO:
    """In place of a stream that was closed before the process began."""
    return open(os.devnull, "w", encoding="utf-8")
