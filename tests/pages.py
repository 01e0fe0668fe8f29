"""Runs to report on, and a reader of pages that finds what is not well formed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from verdicts import skips

from robustnas.reports import report
from robustnas.runs.record import Run, write_text
from robustnas.spaces import Genotype, find_space

VOID = {"img", "meta"}


class Page(HTMLParser):
    """What a page holds, with every element that is not closed, or closed by another."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        self.faults += [f"<{name}> is never closed" for name in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> in the wrong place, line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        for name in set(self.open):
            self.texts[name][-1] += data

    @property
    def all(self) -> str:
        """All text that is read, pictures' included."""
        said = [
            value or "" for _, given in self.elements for name, value in given.items() if name in ("alt", "aria-label")
        ]
        return " ".join([*self.texts.get("body", []), *said])

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [given for one, given in self.elements if one == name]


def write_run(
    folder: Path, space: str = "DARTS", epochs: int = 5, logged: bool = True, finished: bool = True, **manifest: Any
) -> Path:
    """The folder of a search whose genotype changes once, with diagnostics or without."""
    run, rng = Run(folder), np.random.default_rng(0)
    alpha = {kind: rng.normal(size=cell.shape) for kind, cell in find_space(space).cells.items()}
    roles = {"weights": {"size": 647, "sha256": "f8ff" * 16, "class_counts": {"a": 300, "b": 347}}}
    described = {"source": "Digits", "task": "classification", "classes": list("abcdefghij"), "roles": roles}
    module = {"class_path": "robustnas.variants.darts.DARTS", "init_args": {"space": space, "seed": 3, "arch_lr": 0.03}}
    data = {"epochs": 6, "data": described, "module": module, "versions": {"torch": "2.13.0"}, **manifest}
    run.write_manifest(data)
    for epoch in range(epochs):
        run.write_genotype(made(space, epoch > 1), epoch)
        run.write_alpha(epoch, {kind: values * (1 + epoch / 10) for kind, values in alpha.items()})
    more = ",gap/accuracy,curvature/max,curvature/min,custom/thing" if logged else ""
    rows = "".join(
        f"{k},{10 * k},1.25,{2.5 - k / 8},0.{k}375" + (f",0.0{k},{7.5 + k},-0.25,{k}" if logged else "") + "\n"
        for k in range(epochs)
    )
    write_text(folder / "metrics.csv", f"epoch,step,seconds,val/loss,val/top1{more}\n{rows}")
    write_text(folder / "config.yaml", "model: {class_path: robustnas.variants.DARTS}\n")
    if finished:
        run.write_genotype(made(space, epochs > 2))
    return folder


def made(space: str, late: bool) -> Genotype:
    """A genotype of any space, one of two."""
    if space in ("DARTS", "NASBench201"):
        return skips(int(late), space)
    cells = []
    for kind, cell in find_space(space).cells.items():
        edges = [edge for node in cell.nodes for _, edge in cell.edges_into(node)[: cell.keep or None]]
        names = [edge.operations[int(late and k == 1)] for k, edge in enumerate(edges)]
        cells.append(f"{kind}: " + ", ".join(f"{e.name} {name}" for e, name in zip(edges, names, strict=True)))
    return Genotype.from_text(f"{space} {' | '.join(cells)}")


def page_of(*folders: Path) -> Page:
    page = Page(report(folders))
    assert page.faults == []
    return page
