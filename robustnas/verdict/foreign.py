"""α histories that other tools left: CSV or npz, and the name of the space."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from robustnas.safe_files import read_arrays, read_bytes
from robustnas.spaces import SearchSpace, find_space
from robustnas.verdict.history import Array, History, is_measured
from robustnas.verdict.measures import strongest

LONG = ("epoch", "kind", "edge", "operation", "alpha")


def read_foreign(path: str | Path, space: str | SearchSpace) -> History:
    """Read the α of a search by another tool. It counts as finished, with the strongest operations as its result.

    **CSV, long**: columns ``epoch, kind, edge, operation, alpha``, one row for each number; an edge is ``0-2`` or its
    row in α, in the order of the space.

    **CSV, wide**: a column ``epoch`` and one for each number, ``normal/0-2/skip_connect``; columns with one slash, such
    as ``curvature/max``, are taken as measures.

    **npz**: for each kind of cell one array ``[epochs, edges, operations]``, or for each epoch and kind one array
    ``[edges, operations]`` named ``epoch_0007/normal``. ``alphas_normal`` is read as ``normal``.

    Rows that are positive and sum to one are taken as shares; of others the softmax is taken.

    Args:
        path: The file.
        space: The search space, or its name.

    Returns:
        The history.

    Raises:
        ValueError: If the file cannot be read, or does not hold α of the space for every epoch.
    """
    path, space = Path(path), find_space(space)
    data = _bytes(path)
    series: dict[str, dict[int, float]] = {}
    if path.suffix == ".npz":
        alphas = _from_npz(path, data)
    elif path.suffix == ".csv":
        alphas, series = _from_csv(path, data, space)
    else:
        kind = "a TensorBoard events file, which holds no α" if "tfevents" in path.name else f"{path.name}"
        raise ValueError(f"Expected a run folder, or a history in a .csv or .npz file, but got {kind}.")
    try:
        history = History(space, alphas, {}, series, planned=max(alphas, default=-1) + 1, name=str(path))
        final = strongest(history, history.alphas[max(alphas)])
        return History(space, alphas, {}, series, planned=history.planned, final=final, name=str(path))
    except ValueError as error:
        raise ValueError(f"Expected {path} to be a history of α. {error}") from error


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"Expected {path} to be a run folder or a file that can be read, but got {got}.") from error


def _from_npz(path: Path, data: bytes) -> dict[int, dict[str, Array]]:
    try:
        arrays = read_arrays(data)
    except Exception as error:  # a damaged archive fails in any of a dozen ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected {path} to hold arrays, but reading it fails: {reason}") from error
    alphas: dict[int, dict[str, Array]] = {}
    for name, array in arrays.items():
        found = re.fullmatch(r"(?:epoch_(\d+)/)?(?:alphas?_)?(\w+)", name)
        if not found or array.ndim != (3 if found[1] is None else 2):
            raise ValueError(
                f"Expected {path} to hold arrays KIND of shape [epochs, edges, operations], or epoch_0007/KIND of "
                f"shape [edges, operations], but got {name!r} of shape {list(array.shape)}."
            )
        epochs = enumerate(array) if found[1] is None else [(int(found[1]), array)]
        for epoch, values in epochs:
            alphas.setdefault(epoch, {})[found[2]] = values
    return alphas


def _from_csv(
    path: Path, data: bytes, space: SearchSpace
) -> tuple[dict[int, dict[str, Array]], dict[str, dict[int, float]]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
        rows = list(reader)
        header = list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected {path} to be a CSV table in UTF-8, but reading it fails: {error}.") from error
    wide = [name for name in header if name.count("/") == 2]
    if "epoch" not in header or not (wide or set(LONG) <= set(header)):
        raise ValueError(
            f"Expected {path} to have the columns {', '.join(LONG)}, or epoch and columns like "
            f"normal/0-2/skip_connect, but got {', '.join(header[:6]) or 'none'}."
        )
    alphas: dict[int, dict[str, Array]] = {}
    series: dict[str, dict[int, float]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"line {number} of {path}"
        epoch = _whole(row["epoch"], where)
        cells = alphas.setdefault(epoch, {kind: np.full(cell.shape, np.nan) for kind, cell in space.cells.items()})
        for parts, text in _numbers(row, wide):
            kind, edge, column = _place(space, parts, where)
            cells[kind][edge, column] = _real(text, where)
        for name in header:
            if name.count("/") == 1 and row[name] and is_measured(value := _real(row[name], where)):
                series.setdefault(name, {})[epoch] = value
    return alphas, series


def _numbers(row: Mapping[str, str], wide: list[str]) -> Iterable[tuple[list[str], str]]:
    if wide:
        return [(name.split("/"), row[name]) for name in wide]
    return [([row["kind"], row["edge"], row["operation"]], row["alpha"])]


def _place(space: SearchSpace, parts: list[str], where: str) -> tuple[str, int, int]:
    """Kind of cell, row and column of α that a number belongs to."""
    kind, edge, operation = parts
    if kind not in space.cells:
        raise ValueError(f"Expected the kind of cell to be one of {list(space.cells)}, but got {kind!r} in {where}.")
    edges = space.cells[kind].edges
    names = [one.name for one in edges]
    row = names.index(edge) if edge in names else int(edge) if str(edge).isdecimal() else len(edges)
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


def _whole(text: str | None, where: str) -> int:
    if text is None or not text.strip().isdecimal():
        raise ValueError(f"Expected `epoch` to be a whole number, but got {text!r} in {where}.")
    return int(text)


def _real(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"Expected a number, but got {text!r} in {where}.") from None
