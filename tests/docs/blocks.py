"""Code blocks of a Markdown page, and the attributes that say how a test treats them.

An attribute is an HTML comment on the lines above a block, which readers do not see:

- ``<!-- test: skip REASON -->``: the block is not run, since it needs what a test does not have. Commands are parsed.
- ``<!-- test: slow REASON -->``: it is run among the slow tests; otherwise as with ``skip``.
- ``<!-- test: with OPTIONS -->``: options that are added to `fit` and the like in the block, to make it short.
- ``<!-- test: status N -->``: the exit status of its commands, 0 by default.

A block with a caption (``:caption: my_space.py``) is written to a file of that name.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ATTRIBUTE = re.compile(r"<!-- test: (\w+) ?(.*?) -->")
FENCE = re.compile(r"(\s*)(`{3,}|:{3,})\s*(.*)")


@dataclass
class Block:
    """A fenced block.

    Attributes:
        page: File that it stands in.
        line: Number of its first line.
        language: Its language; of a directive without one, the directive in braces.
        text: Its content.
        caption: File that it is to be written to, or nothing.
        attributes: What a test does with it.
    """

    page: Path
    line: int
    language: str
    text: str
    caption: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def idle(self) -> bool:
        """Whether it is never run."""
        return "skip" in self.attributes


def pages() -> list[Path]:
    """Every page that people read, the generated ones left out."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(docs)]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order.

    Args:
        page: A Markdown file.

    Returns:
        The blocks. Fences inside of colon fences count, fences inside of fences do not.
    """
    found: list[Block] = []
    attributes: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if attribute := ATTRIBUTE.fullmatch(line.strip()):
            attributes[attribute[1]] = attribute[2]
            continue
        fence = FENCE.fullmatch(line)
        if fence is None or fence[2].startswith(":"):
            attributes = attributes if not line.strip() else {}
            continue
        content = []
        for _, inner in lines:
            if inner.strip() == fence[2]:
                break
            content.append(inner.removeprefix(fence[1]))
        found.append(_block(page, number, fence[3], content, attributes))
        attributes = {}
    return found


def _block(page: Path, line: int, info: str, content: list[str], attributes: dict[str, str]) -> Block:
    language, caption = info, ""
    if directive := re.fullmatch(r"\{code-block\}\s*(\w+)", info):
        language = directive[1]
        while content and (option := re.fullmatch(r":(\w+): *(.*)", content[0])):
            caption = option[2] if option[1] == "caption" else caption
            content.pop(0)
        content = content[1:] if content and not content[0].strip() else content
    return Block(page, line, language, "\n".join(content) + "\n", caption, dict(attributes))


def commands(block: Block) -> list[tuple[list[str], list[str]]]:
    """Commands of a console block, each as words, with the lines of output that are shown below it.

    Args:
        block: A block of the language ``console``, whose commands follow ``$``.

    Returns:
        Commands in order. A trailing backslash joins lines; what follows ``#`` is a comment.
    """
    found: list[tuple[list[str], list[str]]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line[2:], comments=True), []))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"Expected a console block to begin with `$ `, but {block.place} does not.")
    return found


def stable(line: str) -> str:
    """A line of output without what differs from machine to machine: numbers, frames and spaces."""
    line = re.sub(r"[^\w\s.,:;%|/=()*-]", " ", line.partition(" ...")[0])
    return " ".join(re.sub(r"\d[\d.,]*", "#", line).split())
