"""Pages from templates. Text that comes from a run is escaped, so that no file can bring markup along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")  # what HTML does not allow, or nobody sees


class Cell(NamedTuple):
    """A cell of a table that is more than text, of class or at address ``extra``."""

    text: object
    kind: str  # badge, link, code, mark or words
    extra: str = ""


class Table(NamedTuple):
    """A table; the first cell of a row is its heading, ``None`` is printed as a dash, a list of cells with commas."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    css: str = ""
    notes: Sequence[str] = ()


def page(template: str, **context: Any) -> str:
    """A page from a template, in one file that needs nothing else."""
    return environment().get_template(template).render(context)


@cache
def environment() -> Environment:
    """The templates with their filters and tests."""
    made = Environment(
        loader=PackageLoader("robustnas.reports"), autoescape=True, undefined=StrictUndefined, finalize=printable,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["n"] = n
    made.tests["cell"] = lambda value: isinstance(value, Cell)  # by its class: a file may hold a like mapping
    made.tests["cells"] = lambda value: isinstance(value, list) and all(isinstance(one, Cell) for one in value)
    return made


def printable(value: object) -> object:
    """A value as it is printed: a dash for ``None``, and no character that HTML does not allow."""
    if hasattr(value, "__html__"):  # what the template made
        return value
    text = "–" if value is None else str(value)
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.encode("utf-8", "replace").decode())


def state(name: str | None) -> Cell | None:
    """The state of a verdict as a badge."""
    return None if name is None else Cell(name, "badge", name.replace(" ", "-"))


def n(number: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{number:.1f}".removesuffix(".0")


def figure(number: float) -> str:
    """A number for people, four digits."""
    return f"{number:.4g}"


def duration(seconds: float) -> str:
    """A time for people, such as ``1 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
