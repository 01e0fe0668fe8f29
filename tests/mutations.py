"""Changes of files that are right: bytes flipped, cut, spliced and repeated, values replaced by hostile ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

# What a reader may not expect where it stands: of another type, empty, too large, or no text.
VALUES: list[Any] = [
    None, True, -1, 0, 2**31, 2**62, 2**64, 10**400, 0.5, 1e308, float("inf"), float("nan"), "", "x", "\udcff", "\0",
    "a\nb", "../..", "=1+1", "9" * 4400, "x" * 5000, [], {}, [[]], [1, [2]], {"a": {"b": [1]}}, {"": None}, [None] * 3,
]  # fmt: skip
TOKENS = [
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b",", b",,,,", b'"', b"'", b"-", b"=", b"inf", b"nan",
    b"1e999", b"-1", b"9" * 4400, b"[" * 2000, b"{a: " * 200, b"]", b"}", b"&a ", b"*a", b"<<: *a",
    b"!!python/object:os.system ", b"? ", b"null",
    b"epoch", b"\t", b"\xed\xb3\xbf", b"|", b"~0", b"PK\x01\x02", b"\xff" * 8,
]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, *files: bytes) -> bytes:
    """One of some files with one to four changes.

    Args:
        draw: Of hypothesis.
        *files: Files that are right.
    """
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted(draw(st.lists(st.integers(0, len(data)), min_size=2, max_size=2)))
        kind = draw(st.sampled_from(("flip", "cut", "splice", "repeat", "insert", "replace", "remove")))
        if kind == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "splice":
            other = draw(st.sampled_from(files))
            data[at:until] = other[at:until][::-1] if draw(st.booleans()) else other[len(other) - at :]
        elif kind == "repeat":
            data[at:at] = bytes(data[at:until]) * draw(st.integers(1, 20))
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(TOKENS))
        elif kind == "replace":
            data[at:until] = draw(st.sampled_from(TOKENS))
        elif kind == "remove":
            del data[at:until]
        del data[2**20 :]
    return bytes(data)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of nested dicts and lists stand; of a long list the first and the last."""
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list) and value:
        for index in {0, len(value) - 1}:
            yield from places(value[index], (*at, index))


@st.composite
def replaced(draw: st.DrawFn, content: Any, values: list[Any] = VALUES) -> Any:
    """Nested dicts and lists in which one to three values are replaced, left out, or named otherwise.

    Args:
        draw: Of hypothesis.
        content: What is right.
        values: What comes in their places.
    """
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(content))
        if not known:
            break
        *path, last = draw(st.sampled_from(known))
        holder = content
        for key in path:
            holder = holder[key]
        kind = draw(st.sampled_from(("replace", "replace", "remove", "rename", "wrap")))
        if kind == "remove":
            del holder[last]
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["", "x", "\udcff", "a b", "0", "normal"]))] = holder.pop(last)
        elif kind == "wrap":
            holder[last] = [holder[last]]
        else:
            holder[last] = copy.deepcopy(draw(st.sampled_from(values)))
    return content


def as_json(content: Any) -> bytes:
    """JSON of anything, infinities included; half characters are escaped, as JSON can."""
    return json.dumps(content).encode()
