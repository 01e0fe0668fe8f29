"""Durations: read from ``--budget``, and shown; numbers of epochs and steps."""

from __future__ import annotations

import argparse
import re

NUMBER = r"(\d+(?:\.\d+)?)"
FORM = re.compile(rf"(?:{NUMBER}h)?(?:{NUMBER}m(?:in)?)?(?:{NUMBER}s)?")
UNITS = (3600.0, 60.0, 1.0)


def seconds_of(text: str) -> float:
    """Read a duration such as ``90s``, ``30m``, ``2h`` or ``1h30m``.

    Returns:
        Its seconds.

    Raises:
        ArgumentTypeError: If the text is no duration or stands for no time, in one sentence on ``--budget``.
    """
    found = FORM.fullmatch(text.replace(" ", "").lower())
    if found is None or not any(found.groups()):
        raise argparse.ArgumentTypeError(
            f"Expected `--budget` to be a duration such as 90s, 30m, 2h or 1h30m, but got {text!r}."
        )
    seconds = sum(float(number or 0) * unit for number, unit in zip(found.groups(), UNITS, strict=True))
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"Expected `--budget` to be longer than no time, but got {text!r}.")
    return seconds


def duration(seconds: float) -> str:
    """A time in readable form, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(number: float, thing: str) -> str:
    """A number of things, such as ``1 epoch`` or ``1,320 steps``."""
    return f"{number:,.0f} {thing}{'' if round(number) == 1 else 's'}"
