"""α histories that other tools left: CSV, npz or PyTorch files, and the name of the space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from robustnas.analysis.architecture_statistics import are_shares, candidates
from robustnas.analysis.arrays import Alphas, read_npz, read_torch
from robustnas.analysis.history import History, is_measured
from robustnas.runtime.csv_files import is_csv, number, read_csv
from robustnas.spaces import SearchSpace, find_space

LONG = ("epoch", "kind", "edge", "operation", "alpha")
TORCH = (".pt", ".pth")
ROUNDED = 0.02  # how far a row of shares may be from one where its numbers are rounded


def is_history(path: str | Path) -> bool:
    """Whether a file may be an α history by its name."""
    return is_csv(path) or Path(path).suffix.lower() in (".npz", *TORCH)


def read_foreign(path: str | Path, space: str | SearchSpace) -> History:
    """Read α of another tool (docs/guides/other_tools.md) as a finished search; ``read_as`` says what was assumed."""
    path, space = Path(path), find_space(space)
    if not is_history(path):
        kind = "a TensorBoard events file, which holds no α" if "tfevents" in path.name else f"{path.name}"
        raise ValueError(f"Expected a run folder, or a history in a .csv, .npz or .pt file, but got {kind}.")
    series: dict[str, dict[int, float]] = {}
    if is_csv(path):
        alphas, series, left = _from_csv(path, space)
    else:
        alphas, left = (read_torch if path.suffix.lower() in TORCH else read_npz)(path, space)
    first = _first(sorted(alphas))
    planned = max(alphas, default=first - 1) + 1 - first
    try:
        history = History(space, alphas, {}, series, planned, name=str(path), first=first)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be a history of α. {error}") from error
    history, form = _as_shares(history)
    words = [f"read as {len(alphas)} epochs of {form}, counted from {first}"]
    words += [f"left out {', '.join(left[:6])}" + (", ..." if len(left) > 6 else "")] if left else []
    return replace(history, final=history.genotype(max(alphas)), read_as="; ".join(words))


def _first(epochs: list[int]) -> int:
    """Number of the first epoch: 1 where the first recorded one is 1, or the second with that number between them."""
    step = epochs[1] - epochs[0] if len(epochs) > 1 else 1
    return int(bool(epochs) and epochs[0] in (1, step))


def _as_shares(history: History) -> tuple[History, str]:
    """The history with rounded shares made to sum to one, and what its numbers are taken as."""
    space = history.space
    if not all(are_shares(space, alpha, ROUNDED) for alpha in history.alphas.values()):
        return history, "α, whose softmax gives the shares"
    if all(are_shares(space, alpha) for alpha in history.alphas.values()):
        return history, "shares, since rows sum to 1"
    summed: Alphas = {}
    for epoch, alpha in history.alphas.items():
        totals = {kind: own.sum(axis=1, keepdims=True) for kind, own in candidates(space, alpha).items()}
        summed[epoch] = {kind: values / totals[kind] for kind, values in alpha.items()}
    return replace(history, alphas=summed), "shares, since rows sum to about 1"


def _from_csv(path: Path, space: SearchSpace) -> tuple[Alphas, dict[str, dict[int, float]], list[str]]:
    table = read_csv(path)
    wide = [name for name in table.names if name.count("/") == 2]
    if "epoch" not in table.names or not (wide or set(LONG) <= set(table.names)):
        raise ValueError(
            f"Expected {path} to have the columns {', '.join(LONG)}, or epoch and columns like "
            f"normal/0-2/skip_connect, but got {', '.join(table.names[:6]) or 'none'}."
        )
    measures = [name for name in table.names if name.count("/") == 1]
    left = [name for name in table.names if name not in ("epoch", *measures, *(wide or LONG))]
    alphas: Alphas = {}
    series: dict[str, dict[int, float]] = {}
    latest: dict[tuple[str, int, int], int] = {}
    for row, record in zip(table.rows, table.records(), strict=True):
        where = table.where(row)
        epoch = _whole(record["epoch"], where)
        cells = alphas.setdefault(epoch, {kind: np.full(cell.shape, np.nan) for kind, cell in space.cells.items()})
        given = [(name.split("/"), record[name]) for name in wide]
        for parts, text in given or [([record[name] for name in LONG[1:4]], record["alpha"])]:
            place = kind, edge, column = _place(space, parts, where)
            if (before := latest.get(place, -1)) >= epoch:
                raise ValueError(
                    f"Expected epochs to ascend, each of them once, but got {epoch} after {before} in {where}."
                )
            latest[place] = epoch
            cells[kind][edge, column] = number(text, where)
        for name in measures:
            if record[name].strip() and is_measured(value := number(record[name], table.where(row, name))):
                series.setdefault(name, {})[epoch] = value
    return alphas, series, left


def _place(space: SearchSpace, parts: list[str], where: str) -> tuple[str, int, int]:
    """Kind of cell, row and column of α that a number belongs to."""
    kind, edge, operation = parts
    if kind not in space.cells:
        raise ValueError(f"Expected the kind of cell to be one of {list(space.cells)}, but got {kind!r} in {where}.")
    edges = space.cells[kind].edges
    names = [one.name for one in edges]
    row = names.index(edge) if edge in names else int(edge) if edge.isdecimal() and len(edge) < 10 else len(edges)
    if row >= len(edges):
        raise ValueError(
            f"Expected an edge of the {kind} cell of {space.name}, such as {names[0]}, but got {edge!r} in {where}."
        )
    if operation not in edges[row].operations:
        raise ValueError(
            f"Expected an operation of {kind} edge {names[row]}, one of {list(edges[row].operations)}, "
            f"but got {operation!r} in {where}."
        )
    return kind, row, edges[row].operations.index(operation)


def _whole(text: str, where: str) -> int:
    try:
        value = number(text, where)
    except ValueError:
        value = -1.0
    if not (0 <= value < 1e9 and value.is_integer()):  # pandas writes 3.0 where a column has a gap
        raise ValueError(f"Expected `epoch` to be a whole number, but got {text!r} in {where}.")
    return int(value)
