"""What the report shows of one run, section by section, for the template ``run.html.j2``."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

from robustnas.analysis import metrics
from robustnas.analysis.architecture_statistics import changed
from robustnas.analysis.history import part
from robustnas.analysis.registry import find
from robustnas.plotting.cell_layout import label_of
from robustnas.plotting.cells import draw_genotype
from robustnas.reports.panels import charts
from robustnas.reports.rendering import Cell, Table, duration, state
from robustnas.reports.search_data import SearchData
from robustnas.reports.svg import draw, heat_maps
from robustnas.spaces import Choice, Genotype

FRAMES, DRAWINGS = 8, 6
BROAD = 800  # points, from which on a drawing has a row of its own
T = TypeVar("T")


def run_sections(run: SearchData, name: str) -> dict[str, object]:
    """Everything that the template shows of a run, under a name."""
    verdict = run.verdict
    take = None if verdict.take.epoch == verdict.since else verdict.take.epoch
    epochs = {str(verdict.state): verdict.since, "take": take}
    marks = {label: epoch for label, epoch in epochs.items() if epoch is not None}
    detail = verdict.line.partition(": ")[2] or verdict.line
    logged = [name for name in run.history.series if not name.startswith("train/") and name != metrics.VAL_LOSS.name]
    config = run.folder / "config.yaml"
    text = config.read_bytes().decode("utf-8", "replace") if config.is_file() else None
    return {
        "name": name, "state": state(verdict.state), "summary": _summary(run), "verdict": verdict,
        "sentence": f"{detail[0].upper()}{detail[1:]}.", "evidence": _evidence(run), "only_losses": not logged,
        **{section: draw(*shown) for section, shown in charts(run, marks).items()},
        "alphas": _alphas(run), "drawings": _drawings(run), "genotypes": _genotypes(run), **_data(run),
        **_environment(run), "config": text, "commands": _commands(run, text is not None),
        "command": shlex.join(map(str, given)) if isinstance(given := part(run.manifest, "command"), list) else "",
    }  # fmt: skip


def _summary(run: SearchData) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("variant", run.variant or "unknown"),
        ("space", run.history.space.name),
        ("data", run.data or "unknown"),
        ("epochs", f"{run.epochs}, {'finished' if run.history.finished else 'still running or stopped'}"),
        ("time", None if run.seconds is None else duration(run.seconds)),
        (find(run.quality).title if run.quality else "", run.last(run.quality)),
    ]
    if (discrete := run.last(metrics.DISCRETE_ACCURACY.name)) is not None:
        pairs.append((metrics.DISCRETE_ACCURACY.title, discrete))
    if run.truth is not None:
        pairs.append(("true accuracy by the table", f"{run.true_accuracy}, rank {run.rank}"))
    pairs.append(("cost", run.verdict.cost_line))
    tested = {name: value for name, value in (run.test or {}).items() if name.startswith("test/")}
    tested.pop(metrics.TEST_LOSS.name, None)
    pairs += [(f"trained from scratch, {name}", find(name).show(value)) for name, value in tested.items()]
    return [*pairs, ("verdict", state(run.verdict.state))]


def _evidence(run: SearchData) -> Table:
    head = ["indicator", "value", "threshold", "since epoch", "weight", "meaning", "source", "on recorded runs"]
    rows = [
        [e.threshold.measure, e.shown, e.limit, e.since, e.weight, e.threshold.words, e.threshold.source, e.rate]
        for e in run.verdict.evidence
    ]
    note = (
        "Weight: one indicator that decides is enough for undecided, collapsed or did not learn; one that warns, or "
        "two that hint, make a search at risk. Source: the publication of the threshold; “ours” marks a threshold "
        "that robustnas sets."
    )
    return Table("Evidence", head, rows, "evidence", [note])


def _alphas(run: SearchData) -> list[tuple[str, object]]:
    """For each kind of cell a caption, and heat maps of the weights of its operations at some epochs."""
    epochs = spread(sorted(run.history.alphas), FRAMES)
    shares = {epoch: run.history.shares(epoch) for epoch in epochs}
    cells = run.history.space.cells if epochs else {}
    return [heat_maps({epoch: shares[epoch][kind] for epoch in epochs}, cell, kind) for kind, cell in cells.items()]


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of some items, the first and the last among them, evenly apart."""
    if len(items) <= count:
        return list(items)
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]


def stretches(genotypes: Mapping[int, Genotype]) -> list[tuple[int, int, Genotype]]:
    """First and last epoch of each genotype, as long as it stayed the same."""
    groups = groupby(sorted(genotypes), key=lambda epoch: genotypes[epoch])
    epochs = [(list(held), genotype) for genotype, held in groups]
    return [(held[0], held[-1], genotype) for held, genotype in epochs]


def _drawings(run: SearchData) -> list[dict[str, object]]:
    """Drawings of genotypes: the first, some that followed, the last, and the final one where it is another."""
    steps, final = stretches(run.history.genotypes), run.history.final
    named = [
        (f"Genotype after epoch {a}" if a == b else f"Genotype after epochs {a} to {b}", genotype)
        for a, b, genotype in steps
    ]
    if final is not None and not (steps and steps[-1][2] == final):
        named.append(("Final genotype", final))
    elif final is not None:
        named[-1] = f"{named[-1][0]}, the final one", final
    made = []
    for title, genotype in spread(named, DRAWINGS):
        drawn = draw_genotype(genotype, run.history.space)
        points = re.search(r'<svg[^>]* width="([\d.]+)pt"', drawn)
        broad = points is not None and float(points[1]) > BROAD
        source = base64.b64encode(drawn.encode()).decode()
        made.append({"title": title, "genotype": genotype, "source": source, "broad": broad})
    return made


def _genotypes(run: SearchData) -> Table:
    """A row for each genotype, with choices that the one before did not have marked."""
    kinds, rows = list(run.history.space.cells), []
    before: Genotype | None = None
    for first, last, genotype in stretches(run.history.genotypes):
        counts = genotype.count("skip_connect")
        cells = [_choices(genotype.cells[kind], before.cells[kind] if before else None) for kind in kinds]
        share = "" if before is None else metrics.CHANGED.show(changed(before, genotype))
        skips = ", ".join(str(counts[kind]) for kind in kinds)
        rows.append([f"{first}" if first == last else f"{first}–{last}", share, skips, *cells])
        before = genotype
    head = ["epoch", "changed", f"skips ({', '.join(kinds)})" if len(kinds) > 1 else "skips", *kinds]
    return Table("Genotype after each epoch; choices that differ from the epoch before are marked", head, rows, "wide")


def _choices(choices: Sequence[Choice], before: Sequence[Choice] | None) -> list[Cell]:
    said = [f"{one.source}-{one.node} {label_of(one.operation)}".replace(" ", "\N{NO-BREAK SPACE}") for one in choices]
    new = [before is not None and one not in before for one in choices]
    return [Cell(words, "mark" if fresh else "words") for words, fresh in zip(said, new, strict=True)]


def _data(run: SearchData) -> dict[str, object]:
    described = part(run.manifest, "data")
    roles, classes, shape = (part(described, name) for name in ("roles", "classes", "image_shape"))
    listed = classes if isinstance(classes, list) else []
    pairs = [
        ("source", part(described, "source")),
        ("task", part(described, "task")),
        ("classes", f"{len(listed)}: {', '.join(map(str, listed[:20]))}{', …' if len(listed) > 20 else ''}"
            if listed else None),
        ("images", " × ".join(map(str, shape)) if isinstance(shape, list) else None),
        ("seed of the split", part(described, "split_seed")),
    ]  # fmt: skip
    rows = [
        [name, part(role, "size"), _range(part(role, "class_counts")), Cell(part(role, "sha256"), "code")]
        for name, role in (roles.items() if isinstance(roles, Mapping) else ())
    ]
    head = ["role", "examples", "per class", "SHA-256 of the indices"]
    return {"data": pairs, "roles": Table("Data roles, disjoint", head, rows)}


def _range(counts: Any) -> str | None:
    numbers = [n for n in counts.values() if isinstance(n, int | float)] if isinstance(counts, Mapping) else []
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _environment(run: SearchData) -> dict[str, object]:
    held = run.manifest
    versions, gpus, memory = part(held, "versions"), held.get("gpus"), held.get("memory_bytes")
    commit, dirty = (part(held, "git", "robustnas", name) for name in ("commit", "dirty"))
    pairs = [
        ("started", held.get("started")),
        ("versions", ", ".join(f"{name} {said}" for name, said in versions.items())
            if isinstance(versions, Mapping) else None),
        ("commit", commit and f"{commit}{', with uncommitted changes' if dirty else ''}"),
        ("platform", held.get("platform")),
        ("processor", part(held, "cpu", "model")),
        ("cores", part(held, "cpu", "cores")),
        ("memory", f"{memory / 2**30:.1f} GiB" if isinstance(memory, int | float) and 0 < memory < 1e100 else None),
        ("GPUs", (", ".join(str(part(gpu, "name") or gpu) for gpu in gpus) or "none")
            if isinstance(gpus, list) else None),
        ("precision", held.get("precision")),
        ("processes", held.get("processes")),
    ]  # fmt: skip
    settings = part(held, "module", "init_args")
    given = settings.items() if isinstance(settings, Mapping) else ()
    return {
        "manifest": json.dumps(held, indent=2, ensure_ascii=False, default=str) if held else "",
        "environment": pairs, "settings": [(name, Cell(_setting(value), "code")) for name, value in given],
    }  # fmt: skip


def _setting(value: Any) -> str:
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    given = part(value, "init_args")
    words = ", ".join(f"{name}={said!r}" for name, said in given.items()) if isinstance(given, Mapping) else ""
    return f"{str(part(value, 'class_path') or value).rpartition('.')[2]}({words})"


def _commands(run: SearchData, configured: bool) -> list[tuple[str, str]]:
    """Commands that repeat the run, or go on from it, with what each is for."""
    folder, copy = shlex.quote(str(run.folder)), shlex.quote(f"{run.folder}-again")
    commit = part(run.manifest, "git", "robustnas", "commit")
    config, checkpoint = (shlex.quote(str(run.folder / name)) for name in ("config.yaml", "last.ckpt"))
    return [
        *([(f"git checkout {shlex.quote(commit)}", "the code of the run")] if isinstance(commit, str) else []),
        *([(f"robustnas fit -c {config} --run-dir {copy}", "repeat the search")] if configured else []),
        (f"robustnas evaluate {folder}", "train the genotype from scratch, and test it"),
        (f"robustnas select {folder} --selection LargestDrop", "discretise the same search by another rule"),
        (f"robustnas diagnose {folder}", "print the verdict"),
        (f"robustnas landscape {checkpoint}", "draw the loss around α"),
    ]
