"""Predictions as rows of a table: CSV, or a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from robustnas.inference.prediction import Labels, Outcome, Prediction
from robustnas.runtime.csv_files import csv_text


def row_of(name: str, found: Outcome, classes: Sequence[str], top: int, target: int | None) -> dict[str, Any]:
    """The row of an image, flat: of classes the ``top`` most probable ones, and the true one where it is known."""
    row: dict[str, Any] = {"file": name}
    if isinstance(found, Prediction):
        order = sorted(range(len(classes)), key=lambda i: -found.probabilities[i])[:top]
        row |= {"label": found.label, "index": found.index, "probability": found.probabilities[found.index]}
        for place, i in enumerate(order[1:], start=2):
            row |= {f"label_{place}": classes[i], f"probability_{place}": found.probabilities[i]}
        return row | {"target": None if target is None else classes[target]}
    if isinstance(found, Labels):
        return row | {"labels": ";".join(found.labels)} | dict(zip(classes, found.probabilities, strict=True))
    return row | dict(zip(classes, found.values, strict=True))


def csv_lines(rows: Sequence[dict[str, Any]], header: bool) -> str:
    """Rows of the same columns as CSV."""
    names = list(rows[0])
    return csv_text(rows, names)[0 if header else len(csv_text([], names)) :]


def json_lines(rows: Sequence[dict[str, Any]], header: bool) -> str:
    """Rows as JSON lines, which need no header."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
