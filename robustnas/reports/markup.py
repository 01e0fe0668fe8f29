"""Building blocks of HTML. Text that is not made here is escaped, so that a run of others cannot bring markup along."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")  # what HTML does not allow, or nobody sees


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as HTML text: escaped, unless it is :class:`Markup`."""
    if isinstance(value, Markup):
        return value
    whole = str(value).encode("utf-8", "replace").decode()
    return Markup(html.escape(UNSEEN.sub("\N{REPLACEMENT CHARACTER}", whole)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(text(between).join(text(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: Its name, such as ``td``. ``img``, ``meta``, ``path``, ``line`` and ``rect`` close themselves.
        children: What it holds.
        attributes: By name, with ``_`` for ``-`` and ``class_`` for ``class``; those that are ``None`` are left out.

    Returns:
        The element.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in {"img", "meta"}:
        return Markup(f"<{name}{given}>")
    if name in {"path", "line", "rect"} and not children:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def table(caption: str, head: Iterable[object], rows: Iterable[Iterable[object]], class_: str | None = None) -> Markup:
    """A table that scrolls sideways where it is too wide; the first cell of each row is its heading.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells by row.
        class_: A class for the style.

    Returns:
        The table.
    """
    body = []
    for first, *rest in rows:
        body.append(tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)))
    columns = tag("tr", *(tag("th", name, scope="col") for name in head))
    inner = tag("table", tag("caption", caption), tag("thead", columns), tag("tbody", *body), class_=class_)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[object, object]], class_: str = "facts") -> Markup:
    """Names with what they are, those without a value left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in shown), class_=class_)


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


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f} %"
