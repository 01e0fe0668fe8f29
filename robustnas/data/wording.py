"""Long lists in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 10


def listed(items: Sequence[object], separator: str = ", ") -> str:
    """The first ten items of a list, and how many more there are."""
    more = f"{separator}and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(map(str, items[:SHOWN])) + more
