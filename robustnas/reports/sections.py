"""What the report says about one run, section by section."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from robustnas.analysis import Evidence, Verdict
from robustnas.reports.markup import Markup, duration, facts, figure, join, percent, table, tag
from robustnas.reports.panels import main_charts, other_charts, rounding_charts, spectrum_charts
from robustnas.reports.pictures import drawings, film_strips, genotype_table
from robustnas.reports.search_data import SearchData, part


def badge(verdict: Verdict) -> Markup:
    """The state as a coloured word."""
    return tag("strong", verdict.state, class_=f"badge {verdict.state.replace(' ', '-')}")


def share_or_figure(name: str, value: float) -> str:
    """Accuracies in percent, other metrics as they are."""
    return percent(value) if name.endswith(("top1", "top5", "accuracy")) else figure(value)


def run_sections(run: SearchData, name: str, anchor: str) -> Markup:
    """Everything about a run.

    Args:
        run: What is known of it.
        name: Its name in the report.
        anchor: Identifier of its heading.

    Returns:
        One element with a heading and the sections.
    """
    makers: dict[str, Callable[[SearchData], Markup]] = {
        "Summary": summary, "Verdict": verdict, "Curves": curves, "Film strip of α": alphas, "Genotypes": genotypes,
        "Spectrum over time": spectrum, "Discretisation gap": rounding, "Data": data, "How it came about": origin,
        "Reproduce": reproduce,
    }  # fmt: skip
    parts = [tag("section", tag("h3", title), maker(run)) for title, maker in makers.items()]
    return tag("article", tag("h2", name, " ", badge(run.verdict)), *parts, id=anchor)


def marks(run: SearchData) -> dict[str, int]:
    """Epochs to mark in every chart."""
    found: dict[str, int] = {} if run.verdict.since is None else {run.verdict.state: run.verdict.since}
    return found if run.verdict.take.epoch in (None, run.verdict.since) else {**found, "take": run.verdict.take.epoch}


def summary(run: SearchData) -> Markup:
    """The run in a few facts."""
    pairs: list[tuple[object, object]] = [
        ("variant", run.variant or "not known"),
        ("space", run.history.space.name),
        ("data", run.data or "not known"),
        ("epochs", f"{run.epochs}, {'finished' if run.history.finished else 'still running or stopped'}"),
        ("time", None if run.seconds is None else duration(run.seconds)),
    ]
    if (quality := run.quality) and (value := run.last(quality[0])) is not None:
        pairs.append((f"supernet, {quality[1]} on validation", share_or_figure(quality[0], value)))
    if (discrete := run.last("gap/discrete_accuracy")) is not None:
        pairs.append(("rounded, accuracy with the same weights", percent(discrete)))
    for name, value in (run.test or {}).items():
        if name.startswith("test/") and name != "test/loss":
            pairs.append((f"trained from scratch, {name}", share_or_figure(name, value)))
    pairs.append(("verdict", badge(run.verdict)))
    return facts(pairs)


def verdict(run: SearchData) -> Markup:
    """State, evidence, what to take and what to try."""
    said = run.verdict
    since = "" if said.since is None else f" since epoch {said.since}"
    parts = [tag("p", badge(said), f"{since}. {_sentence(said.line)}")]
    if said.evidence:
        head = ["sign", "value", "threshold", "since epoch", "counts as", "meaning", "source", "on recorded runs"]
        parts.append(table("Evidence", head, map(_evidence, said.evidence), "evidence"))
    which = "the final genotype" if said.take.epoch is None else f"the genotype after epoch {said.take.epoch}"
    parts.append(tag("p", tag("strong", "Take "), f"{which}: {said.take.why}."))
    if said.take.genotype is not None:
        parts.append(tag("p", tag("code", said.take.genotype)))
    if said.remedies:
        tries = (tag("li", tag("code", remedy.setting), f": {remedy.why}") for remedy in said.remedies)
        parts += [tag("p", tag("strong", "Try"), " next time:"), tag("ul", *tries)]
    if said.missing:
        parts.append(tag("p", f"Not measured, so not judged: {', '.join(said.missing)}.", class_="missing"))
    return join(parts)


def _evidence(e: Evidence) -> list[object]:
    row = e.threshold
    return [row.measure, e.shown, e.limit, e.since, e.weight, row.words, row.source, e.rate]


def curves(run: SearchData) -> Markup:
    """Every series over the epochs."""
    shown, others = main_charts(run, marks(run)), other_charts(run, marks(run))
    parts = [tag("div", *shown, class_="charts")] if shown else [_missing("No curve was recorded.")]
    if not (run.history.series.keys() - {name for name in run.history.series if name[:6] in ("train/", "val/lo")}):
        parts.append(_missing("Nothing but losses was logged; the rest follows from α and the genotypes."))
    if others:
        parts += [tag("h4", "All other series"), tag("div", *others, class_="charts small")]
    return join(parts)


def alphas(run: SearchData) -> Markup:
    """Shares of operations over the epochs, as pictures."""
    return join(film_strips(run)) or _missing("α was not recorded.")


def genotypes(run: SearchData) -> Markup:
    """Genotypes drawn and listed."""
    drawn = drawings(run)
    if not drawn:
        return _missing("No genotype was recorded.")
    listed = genotype_table(run) if run.genotypes else _missing("Genotypes of single epochs were not recorded.")
    return join([tag("div", drawn, class_="drawings"), listed])


def spectrum(run: SearchData) -> Markup:
    """Eigenvalues of the Hessian in α."""
    shown = spectrum_charts(run, marks(run))
    if not shown:
        return _missing(join(["The curvature was not measured. ", _budget()]))
    return tag("div", *shown, class_="charts")


def rounding(run: SearchData) -> Markup:
    """What rounding costs."""
    shown = rounding_charts(run, marks(run))
    if not shown:
        return _missing(join(["What rounding costs was not measured. ", _budget()]))
    said = "The supernet minus its own discretisation, with the same weights; above zero, rounding loses."
    return join([tag("p", said), tag("div", *shown, class_="charts")])


def data(run: SearchData) -> Markup:
    """The data roles, with sizes and hashes."""
    described = part(run.manifest, "data")
    roles = part(described, "roles")
    if not isinstance(roles, Mapping) or not roles:
        return _missing("The manifest does not say which data the run used.")
    classes = part(described, "classes")
    shape = part(described, "image_shape")
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
        [name, part(role, "size"), _spread(part(role, "class_counts")), tag("code", part(role, "sha256"))]
        for name, role in roles.items()
    ]
    head = ["role", "examples", "in a class", "SHA-256 of the indices"]
    return join([facts(pairs), table("Roles of the data, disjoint", head, rows)])


def _spread(counts: Any) -> str:
    numbers = [n for n in counts.values() if isinstance(n, int | float)] if isinstance(counts, Mapping) else []
    if not numbers:
        return "–"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def origin(run: SearchData) -> Markup:
    """Versions, hardware and settings."""
    held = run.manifest
    if not held:
        return _missing("The run has no manifest.")
    versions = part(held, "versions")
    gpus = held.get("gpus")
    memory = held.get("memory_bytes")
    commit = part(held, "git", "robustnas", "commit")
    pairs = [
        ("started", held.get("started")),
        ("versions", ", ".join(f"{name} {said}" for name, said in versions.items())
            if isinstance(versions, Mapping) else None),
        ("commit", commit and f"{commit}{', with changes' if part(held, 'git', 'robustnas', 'dirty') else ''}"),
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
    given = [(name, _setting(value)) for name, value in settings.items()] if isinstance(settings, Mapping) else []
    shown = join([tag("h4", "Arguments of the search"), facts(given, "facts close")]) if given else Markup()
    whole = tag("pre", json.dumps(held, indent=2, ensure_ascii=False, default=str))
    parts = [facts(pairs), shown, tag("details", tag("summary", "The whole manifest"), whole)]
    if config := _config(run):
        parts.append(tag("details", tag("summary", "The whole configuration, config.yaml"), tag("pre", config)))
    return join(parts)


def _setting(value: Any) -> object:
    if not isinstance(value, Mapping):
        return tag("code", json.dumps(value, ensure_ascii=False, default=str))
    given = part(value, "init_args")
    words = ", ".join(f"{name}={said!r}" for name, said in given.items()) if isinstance(given, Mapping) else ""
    return tag("code", f"{str(part(value, 'class_path') or value).rpartition('.')[2]}({words})")


def _config(run: SearchData) -> str | None:
    path = run.folder / "config.yaml"
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None


def reproduce(run: SearchData) -> Markup:
    """Commands that do it again, and that go on from here."""
    folder = shlex.quote(str(run.folder))
    copy = shlex.quote(f"{run.folder}-again")
    commit = part(run.manifest, "git", "robustnas", "commit")
    commands = [
        (f"git checkout {shlex.quote(commit)}", "the code it ran with") if isinstance(commit, str) else None,
        (f"robustnas fit -c {shlex.quote(str(run.folder / 'config.yaml'))} --run-dir {copy}", "the same search again")
        if _config(run) is not None else None,
        (f"robustnas evaluate {folder}", "train what was found from scratch, and test it"),
        (f"robustnas select {folder} --selection LargestDrop", "round the same search by another rule"),
        (f"robustnas diagnose {folder}", "the verdict"),
        (f"robustnas landscape {shlex.quote(str(run.folder / 'last.ckpt'))}", "the loss around α"),
    ]  # fmt: skip
    kept = [command for command in commands if command is not None]
    lines = join((tag("span", f"{words}  ", tag("i", f"# {why}")) for words, why in kept), "\n")
    given = part(run.manifest, "command")
    parts = [tag("pre", lines)]
    if isinstance(given, list):
        said = shlex.join(str(word) for word in given)
        parts.append(join([tag("p", "It was started with:"), tag("pre", said)]))
    if _config(run) is None:
        parts.append(_missing("The run has no config.yaml, so that the search cannot be repeated from it."))
    return join(parts)


def _missing(said: object) -> Markup:
    return tag("p", said, class_="missing")


def _budget() -> Markup:
    option = tag("code", "--diagnostics.budget")
    return join(["Every search measures it as often as its budget allows; ", option, " sets that."])


def _sentence(line: str) -> str:
    detail = line.partition(": ")[2] or line
    return f"{detail[0].upper()}{detail[1:]}."
