"""Printing to terminals and pipes whose encoding lacks some characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

SIGPIPE_STATUS = 141  # 128 and the number of SIGPIPE, as shells have it
HANDLER = "robustnas.runtime.terminal"
MAX_MESSAGE = 2000  # characters of a message; longer ones lose their middle
SPELLINGS = {
    "—": "-", "–": "-", "−": "-", "·": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->",
    "…": "...", "✓": "+", "✗": "x", "°": " deg", "∞": "inf", "λ": "lambda", "Λ": "Lambda",
}  # fmt: skip


@contextlib.contextmanager
def printable() -> Iterator[None]:
    """Let standard output and error accept every text: characters that their encoding lacks are written in ASCII."""
    codecs.register_error(HANDLER, _replace_unencodable)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=HANDLER)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with contextlib.suppress(OSError, ValueError):  # the stream may be closed
                stream.reconfigure(errors=errors)


def one_line(message: str) -> str:
    """Put an error message on one line of limited length, with control characters escaped."""
    if len(message) > MAX_MESSAGE:
        half = MAX_MESSAGE // 2
        message = f"{message[:half]} ... ({len(message) - 2 * half:,} characters) ... {message[-half:]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message.replace("\n", " "))


class PipeSafeStream:
    """A stream that ignores text once its reader has closed the pipe; ``broken`` tells whether it has."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.broken = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._watched():
            return self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._watched():
            self._stream.flush()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.broken = True
            with contextlib.suppress(OSError, ValueError):  # redirect what is still buffered
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


class Streams:
    """Standard output and error of a command, which finishes its work although nobody reads its output any more."""

    def __init__(self) -> None:
        self.before = sys.stdout, sys.stderr
        self.both = (PipeSafeStream(sys.stdout or _nowhere()), PipeSafeStream(sys.stderr or _nowhere()))

    def __enter__(self) -> Streams:
        sys.stdout, sys.stderr = self.both
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self.before

    def status(self, status: int) -> int:
        """The exit status of a command: 141 if it succeeded but a reader closed its pipe early."""
        for stream in self.both:
            stream.flush()
        return SIGPIPE_STATUS if status == 0 and any(stream.broken for stream in self.both) else status


def _nowhere() -> TextIO:
    """Replacement for a stream that was closed before the process began."""
    return open(os.devnull, "w", encoding="utf-8")


def _replace_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that cannot be encoded: Greek by name, others without accents, the rest by number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(letter: str) -> str:
    if letter in SPELLINGS:
        return SPELLINGS[letter]
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK"):
        word = name.split(" WITH ")[0].split()[-1]
        return word.capitalize() if "CAPITAL" in name else word.lower()
    if name.startswith("BOX DRAWINGS"):
        return "|" if name.endswith("VERTICAL") else "-" if name.endswith("HORIZONTAL") else "+"
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return base if base or unicodedata.combining(letter) else letter.encode("ascii", "backslashreplace").decode()
