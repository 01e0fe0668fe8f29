"""The picture of rooms: floors from the ground up, and the number of imports between them, drawn from the code."""

from __future__ import annotations

import ast
import importlib
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PURPOSES = {
    "runtime": "what the process needs",
    "statistics": "numbers from several runs",
    "spaces": "what can be found",
    "curvature": "Hessian of (loss, α)",
    "data": "images and their roles",
    "networks": "space → network",
    "runs": "folder of a run",
    "analysis": "metrics, rules, verdict",
    "tabular": "accuracies by table",
    "cost": "FLOPs, latency",
    "strategies": "how a search decides",
    "plotting": "cells, curves, charts",
    "training": "the alternating step",
    "variants": "one class a paper",
    "diagnostics": "one callback a measure",
    "inference": "a trained network in use",
    "cli": "LightningCLI",
    "planning": "sizes, time and memory",
    "studies": "many runs",
    "verification": "proofs on your machine",
    "tuning": "hyperparameters by Optuna",
    "reports": "HTML of runs and studies",
    "commands": "one file a command",
    "notebook": "pictures in IPython",
}
WIDTH, HEIGHT, GAP, LEFT = 820, 46, 14, 30


def floors() -> list[list[str]]:
    """Names of rooms, floor by floor from the ground, as the contract of import-linter has them."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(one["layers"] for one in project["tool"]["importlinter"]["contracts"] if one["name"] == "floors")
    return [layer.split(" | ") for layer in reversed(layers) if layer != "__main__"]


def arrows() -> set[tuple[str, str]]:
    """Every pair of rooms of which the first imports from the second."""
    found = set()
    for top, folder in (("", "robustnas"), ("variants", "variants"), ("diagnostics", "diagnostics")):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            package = [*([top] if top else []), *parts[:-1]]
            room = top or parts[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for target in _targets(node, package):
                    if target != room:
                        found.add((room, target))
    rooms = {room for floor in floors() for room in floor}
    return {(a, b) for a, b in found if a in rooms and b in rooms}


def _targets(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""] if node.module else [alias.name for alias in node.names]
        base = package[: len(package) - node.level + 1] if node.level else []
        full = [".".join([*(["robustnas", *base] if node.level else []), name]) for name in names]
        if node.module == "robustnas":
            full = [f"robustnas.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        full = [alias.name for alias in node.names]
    else:
        return []
    return [name.split(".")[1] for name in full if name.startswith("robustnas.")]


def draw() -> str:
    """The picture as SVG: a row a floor, the ground below; titles name what a room imports."""
    rows, uses = floors(), dict[str, list[str]]()
    for room, target in sorted(arrows()):
        uses.setdefault(room, []).append(target)
    tall = len(rows) * (HEIGHT + GAP) + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}" role="img" font-family="sans-serif">'
    lines = [head, "<title>Rooms of robustnas: a room imports only from rows below it</title>"]
    lines.append(f'<rect width="{WIDTH}" height="{tall}" rx="8" fill="#ffffff"/>')
    for number, floor in enumerate(rows):
        y = tall - (number + 1) * (HEIGHT + GAP)
        lines.append(f'<text x="14" y="{y + HEIGHT / 2 + 4}" font-size="11" fill="#667788">{number + 1}</text>')
        width = (WIDTH - LEFT - GAP * len(floor) - GAP) / len(floor)
        for column, name in enumerate(floor):
            x = LEFT + GAP + column * (width + GAP)
            lines.append(f"<g><title>{name} imports {', '.join(uses.get(name, ['nothing']))}</title>")
            size = f'width="{width:.0f}" height="{HEIGHT}" rx="6"'
            lines.append(f'<rect x="{x:.0f}" y="{y}" {size} fill="#eaf1fb" stroke="#5b84b1"/>')
            for text, dy, points, fill in ((name, 19, 14, "#12304f"), (PURPOSES[name], 36, 11.5, "#44586c")):
                lines.append(
                    f'<text x="{x + width / 2:.0f}" y="{y + dy}" font-size="{points}" fill="{fill}" '
                    f'text-anchor="middle">{escape(text)}</text>'
                )
            lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])
