"""Progress of a study: a live table in a terminal, lines of text elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from robustnas.planning.durations import duration
from robustnas.runs.record import read_json
from robustnas.runtime.csv_files import read_csv
from robustnas.studies.engine import Event

SHOWN = 5  # finished and failed trials that stay in the table, the latest
STAGES = ("evaluation", "search")  # the later one first


class Shown(Protocol):
    """What is known of a trial that is shown: its name, that of its group, and its folder inside the study's."""

    @property
    def key(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def folder(self) -> str: ...


@dataclass
class Progress:
    """Progress of trials that run at most ``slots`` at a time; ``finished`` of the study had a result before."""

    root: Path
    trials: Sequence[Shown]
    finished: int
    slots: int
    console: Console = field(default_factory=Console)
    since: dict[str, float] = field(default_factory=dict, init=False)
    took: dict[str, float] = field(default_factory=dict, init=False)
    ended: list[tuple[str, str]] = field(default_factory=list, init=False)
    failed: int = field(default=0, init=False)
    start: float = field(default_factory=time.monotonic, init=False)

    @contextlib.contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show the progress while trials run."""
        if not self.console.is_terminal:
            yield self
            return
        # Once a second: reading and drawing more often would cost the trials time.
        with Live(get_renderable=self.table, console=self.console, refresh_per_second=1):
            yield self

    def __call__(self, event: Event) -> None:
        """Record an event, and print it where there is no live table."""
        now = time.monotonic()
        if event.kind == "started":
            self.since[event.key] = now
            said = "started" if event.attempt == 1 else f"started, attempt {event.attempt}"
        else:
            seconds = now - self.since.pop(event.key, now)
            said = f"to be retried: {event.text}"
            if event.kind == "searched":
                said = f"searched in {duration(seconds)}"
            elif event.kind == "done":
                self.took[event.key] = seconds
                score = event.value.get("score") if isinstance(event.value, dict) else None
                shown = f", {score['name']} {score['value']:.4f}" if score else ""
                chosen = event.value.get("chosen") if isinstance(event.value, dict) else None
                shown += f", seed {chosen['seed']} is chosen" if chosen and not chosen["chosen"] else ""
                shown += f", {event.value['note']}" if isinstance(event.value, dict) and "note" in event.value else ""
                said = f"done in {duration(seconds)}{shown}"
            elif event.kind == "failed":
                self.failed += 1
                said = f"failed: {event.text}"
            if event.kind != "searched":
                self.ended.append((event.key, said))
        if not self.console.is_terminal:
            left = f" ({self.left()})" if event.kind == "done" and self.left() else ""
            line = f"[{self.finished + len(self.took)}/{self.finished + len(self.trials)}] {event.key}: {said}{left}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def left(self) -> str:
        """How long it will take, from how long it took so far."""
        to_go = len(self.trials) - len(self.took) - self.failed
        if not self.took or not to_go:
            return ""
        known: dict[str, list[float]] = {}
        for key, seconds in self.took.items():
            known.setdefault(key.rpartition("/")[0], []).append(seconds)
        gone = {name for name, _ in self.ended if name not in self.since}
        todo = [trial for trial in self.trials if trial.key not in gone]
        total = sum(fmean(known.get(trial.group, self.took.values())) for trial in todo)
        running = sum(time.monotonic() - since for since in self.since.values())
        return f"about {duration(max(0.0, total - running) / min(self.slots, to_go))} left"

    def table(self) -> Table:
        """Trials that run, with where they are; and the latest that ended."""
        done, every = self.finished + len(self.took), self.finished + len(self.trials)
        parts = [f"{done} of {every} done", f"{self.failed} failed" if self.failed else "", self.left()]
        title = f"{self.root.name}: {', '.join(part for part in parts if part)}"
        table = Table(title=title, title_justify="left", caption=duration(time.monotonic() - self.start))
        for name in ("trial", "state", "epoch", "metric"):
            table.add_column(name, overflow="fold")
        for key, said in self.ended[-SHOWN:]:
            table.add_row(key, said, "", "", style="dim" if said.startswith("done") else "red")
        folders = {trial.key: self.root / trial.folder for trial in self.trials}
        for key, since in list(self.since.items()):
            stage, epoch, metric = where(folders[key])
            table.add_row(key, f"{stage}, {duration(time.monotonic() - since)}", epoch, metric)
        return table


def where(folder: Path) -> tuple[str, str, str]:
    """The stage of a running trial, its epoch of how many, and its latest metric, by the files in its folder."""
    for stage in (*_setting(folder), *STAGES):
        if stage == "search" and (tried := _tried(folder / stage)) is not None:
            return tried
        if (folder / stage / "manifest.json").is_file():
            try:
                epochs = read_json(folder / stage / "manifest.json")["epochs"]
                row = read_csv(folder / stage / "metrics.csv").records()[-1]
                names = [name for name, value in row.items() if value and name.startswith(("val/", "train/"))]
                # Accuracies before losses, on held-out images before training ones.
                shown = sorted(names, key=lambda name: (name.endswith("loss"), name.startswith("train/")))[:1]
                measured = "".join(f"{name} {float(row[name]):.4f}" for name in shown)
                return stage, f"{int(row['epoch']) + 1}/{epochs}", measured
            except (OSError, ValueError, KeyError, IndexError, TypeError):
                return stage, "", ""
    return "starting", "", ""


def _setting(folder: Path) -> list[str]:
    """The setting of the evaluation under which a trial trains: the one whose folder was written last."""
    found = [path.parent for path in folder.glob("evaluation/*/manifest.json")]
    latest = max(found, key=lambda path: (path / "manifest.json").stat().st_mtime, default=None)
    return [latest.relative_to(folder).as_posix()] if latest else []


def _tried(folder: Path) -> tuple[str, str, str] | None:
    """Where a baseline is that trains one architecture after the other."""
    if not (folder / "trace.json").is_file():
        return None
    try:
        held = read_json(folder / "trace.json")
        observations = held["observations"]
        running = folder / "evaluations" / f"{len(observations):04}" / "run" / "metrics.csv"
        epochs = len(read_csv(running).rows) if running.is_file() else 0
        spent = (observations[-1]["spent"] if observations else 0) + epochs
        scores = [one["score"] for one in observations if one["score"] is not None]
        best = f"best of {len(scores)}: {max(scores):.4f}" if scores else ""
        return "search", f"{spent:.0f}/{held['planned']:.0f} {held['unit']}", best
    except (OSError, ValueError, KeyError, TypeError):
        return "search", "", ""
