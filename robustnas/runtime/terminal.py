"""What is printed, on terminals and pipes that cannot show every letter."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import unicodedata
from collections.abc import Iterator

HANDLER = "robustnas.runtime.terminal"
LONGEST = 2000  # characters of a sentence; what is between its ends is left out
PLAIN = {
    "—": "-", "–": "-", "−": "-", "·": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->",
    "…": "...", "✓": "+", "✗": "x", "°": " deg", "∞": "inf", "λ": "lambda", "Λ": "Lambda",
}  # fmt: skip


@contextlib.contextmanager
def printable() -> Iterator[None]:
    """Let standard output and error take every text: letters that their encoding lacks are spelt in ASCII.

    Yields:
        Nothing.
    """
    codecs.register_error(HANDLER, _spelt)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=HANDLER)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with contextlib.suppress(OSError, ValueError):  # it may be closed, or nobody reads it any more
                stream.reconfigure(errors=errors)


def one_line(message: str) -> str:
    """A message of an error as one line: control characters are escaped, and what no reader needs is left out.

    Args:
        message: The message.

    Returns:
        At most ``LONGEST`` characters and a remark, none of which moves the cursor of a terminal.
    """
    if len(message) > LONGEST:
        half = LONGEST // 2
        message = f"{message[:half]} ... ({len(message) - 2 * half:,} characters) ... {message[-half:]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message.replace("\n", " "))


def _spelt(error: UnicodeError) -> tuple[str | bytes, int]:
    """Letters that cannot be encoded: Greek by name, others without their accents, the rest by number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelt = "".join(map(_in_ascii, error.object[error.start : error.end]))
    return spelt, error.end


def _in_ascii(letter: str) -> str:
    if letter in PLAIN:
        return PLAIN[letter]
    name = unicodedata.name(letter, "")
    if name.startswith("GREEK"):
        word = name.split(" WITH ")[0].split()[-1]
        return word.capitalize() if "CAPITAL" in name else word.lower()
    if name.startswith("BOX DRAWINGS"):
        return "|" if name.endswith("VERTICAL") else "-" if name.endswith("HORIZONTAL") else "+"
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return base if base or unicodedata.combining(letter) else letter.encode("ascii", "backslashreplace").decode()
