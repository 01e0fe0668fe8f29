"""How α and the genotype of a run went: film strips, drawings, and a row for each genotype."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from robustnas.analysis.architecture_statistics import changed
from robustnas.plotting.cell_layout import label_of
from robustnas.plotting.cells import draw_genotype
from robustnas.reports.charts import film
from robustnas.reports.markup import Markup, join, percent, table, tag
from robustnas.reports.search_data import SearchData
from robustnas.spaces import Choice, Genotype

FRAMES, DRAWINGS = 8, 6
BROAD = 800  # points, from which on a drawing has a row of its own
T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of some items, the first and the last among them, evenly apart."""
    if len(items) <= count:
        return list(items)
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]


def film_strips(run: SearchData) -> list[Markup]:
    """For each kind of cell the shares of its operations over the epochs; nothing where α was not recorded."""
    epochs = spread(sorted(run.history.alphas), FRAMES)
    shares = {epoch: run.history.shares(epoch) for epoch in epochs}
    cells = run.history.space.cells if epochs else {}
    return [film({epoch: shares[epoch][kind] for epoch in epochs}, cell, kind) for kind, cell in cells.items()]


def stretches(genotypes: Mapping[int, Genotype]) -> list[tuple[int, int, Genotype]]:
    """First and last epoch of each genotype, as long as it stayed the same."""
    found: list[tuple[int, int, Genotype]] = []
    for epoch, genotype in sorted(genotypes.items()):
        if found and found[-1][2] == genotype:
            found[-1] = found[-1][0], epoch, genotype
        else:
            found.append((epoch, epoch, genotype))
    return found


def drawings(run: SearchData) -> Markup:
    """Genotypes drawn: the first, some that followed, and the last; the final one where it is another."""
    steps = stretches(run.genotypes)
    final = run.history.final
    named = [(f"Genotype {_when(first, last)}", genotype) for first, last, genotype in steps]
    if final is not None and not (steps and steps[-1][2] == final):
        named.append(("Final genotype", final))
    elif final is not None:
        named[-1] = f"{named[-1][0]}, the final one", final
    return join(_drawing(name, genotype, run) for name, genotype in spread(named, DRAWINGS))


def _drawing(name: str, genotype: Genotype, run: SearchData) -> Markup:
    drawn = draw_genotype(genotype, run.history.space)
    points = re.search(r'<svg[^>]* width="([\d.]+)pt"', drawn)
    broad = points is not None and float(points[1]) > BROAD
    source = base64.b64encode(drawn.encode()).decode()
    picture = tag("img", src=f"data:image/svg+xml;base64,{source}", alt=f"{name}: {genotype}")
    scroll = tag("div", picture, class_="scroll", tabindex="0", role="region", aria_label=name)
    return tag("figure", tag("figcaption", name), scroll, class_="drawing broad" if broad else "drawing")


def genotype_table(run: SearchData) -> Markup:
    """A row for each genotype, with what changed against the one before marked."""
    kinds = list(run.history.space.cells)
    rows: list[list[object]] = []
    before: Genotype | None = None
    for first, last, genotype in stretches(run.genotypes):
        counts = genotype.count("skip_connect")
        skips = ", ".join(str(counts[kind]) for kind in kinds)
        share = "" if before is None else percent(changed(before, genotype))
        cells = [_cell(genotype.cells[kind], before.cells[kind] if before else None) for kind in kinds]
        rows.append([f"{first}" if first == last else f"{first}–{last}", share, skips, *cells])
        before = genotype
    head = ["epoch", "changed", f"skips ({', '.join(kinds)})" if len(kinds) > 1 else "skips", *kinds]
    return table("Genotype after each epoch; choices that the one before did not have are marked", head, rows, "wide")


def _cell(choices: Sequence[Choice], before: Sequence[Choice] | None) -> Markup:
    parts = []
    for choice in choices:
        words = f"{choice.source}-{choice.node} {label_of(choice.operation)}"
        new = before is not None and choice not in before
        parts.append(tag("mark" if new else "span", words.replace(" ", "\N{NO-BREAK SPACE}")))
    return join(parts, ", ")


def _when(first: int, last: int) -> str:
    return f"after epoch {first}" if first == last else f"after epochs {first} to {last}"
