"""What is said about a search, and how it reads: in the terminal, as Markdown, as JSON."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from robustnas.analysis.calibration import RATES
from robustnas.analysis.cost_outcome import CostOutcome
from robustnas.analysis.thresholds import Remedy, State, Threshold, Weight
from robustnas.spaces import Genotype

SCHEMA = 1
SENTENCES = ("undecided", "did not learn")  # states that a sentence explains, whenever they began
WORDS = {">": "over", ">=": "at least", "<": "under", "<=": "at most"}


@dataclass(frozen=True)
class Evidence:
    """A sign of collapse that was seen."""

    threshold: Threshold  #: the row of the table that it passes
    value: float  #: what was measured
    bound: float  #: the threshold in this space
    epoch: int  #: of the measurement
    since: int  #: first epoch from which on the sign was there
    edges: int  #: kept edges of a cell
    weight: Weight  #: what it counts for; a decisive sign that the search escaped from only warns

    @property
    def shown(self) -> str:
        """The value for people, such as ``7 of 8``."""
        return self._figure(self.value) + (f" of {self.edges}" if self.threshold.unit == "edges" else "")

    @property
    def limit(self) -> str:
        """The threshold for people, such as ``over 4``."""
        return f"{WORDS[self.threshold.comparison]} {self._figure(self.bound)}"

    @property
    def rate(self) -> str:
        """How often the alarm was right on recorded runs."""
        rate = RATES.get(self.threshold.name)
        return str(rate) if rate else "not calibrated on recorded runs"

    def _figure(self, value: float) -> str:
        """A number, with as many digits as tell the value from the threshold."""
        digits = range(0 if self.value == self.bound else 5)
        more = next((n for n in digits if self._rounded(self.value, n) != self._rounded(self.bound, n)), 0)
        return self._rounded(value, more)

    def _rounded(self, value: float, more: int) -> str:
        if self.threshold.unit == "%":
            return f"{100 * value:.{more}f} %"
        if self.threshold.unit == "edges":
            return f"{value * self.edges:.{2 + more}g}"
        return f"{value:.{3 + more}g}"

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON."""
        row = self.threshold
        return {
            "name": row.name, "measure": row.measure, "series": row.series, "value": self.value,
            "comparison": row.comparison, "threshold": self.bound, "shown": self.shown, "limit": self.limit,
            "epoch": self.epoch, "since": self.since, "weight": self.weight, "source": row.source,
            "words": row.words, "rate": asdict(RATES[row.name]) if row.name in RATES else None,
        }  # fmt: skip


@dataclass(frozen=True)
class Take:
    """The genotype to take, where it is known, and why; ``epoch`` is ``None`` for the one the search ended with."""

    epoch: int | None
    genotype: Genotype | None
    why: str


@dataclass(frozen=True)
class Verdict:
    """A search judged."""

    state: State
    since: int | None  #: epoch from which on that holds; None: healthy
    epoch: int  #: the last that was judged
    planned: int | None  #: epochs that were planned, where that is known
    finished: bool  #: whether the search has ended
    evidence: tuple[Evidence, ...]  #: the weightiest first
    take: Take
    remedies: tuple[Remedy, ...]  #: what to try next, the most promising first
    missing: tuple[str, ...]  #: what was not measured
    space: str
    name: str = ""  #: where the history came from
    first: int = 0  #: number of its first epoch, 0 or 1
    read_as: str = ""  #: what was assumed in reading it
    cost: CostOutcome | None = None  #: what the genotype costs, where the loss of α has a cost
    cost_to_take: float | None = None  #: what the genotype to take costs, where it is that of an epoch

    @property
    def line(self) -> str:
        """One line, such as ``collapsed since epoch 21: skip connections in the genotype 7 of 8 (over 4)``."""
        signs = [e for e in self.evidence if e.weight != "notes"]
        if self.state == "healthy" or not signs:
            return f"{self.state}: {self._seen}"
        if self.state in SENTENCES:
            return f"{self.state}: {self._sentence(signs[0])}"
        named = signs[:2] if signs[0].weight == "hints" else signs[:1]  # a single hint would not put it at risk
        return f"{self._head}: " + ", ".join(f"{e.threshold.measure} {e.shown} ({e.limit})" for e in named)

    def text(self) -> str:
        """For a terminal, at most 80 columns."""
        known = [f"  {line}" for line in (f"{self.space}, {self._where}", self.name) if line]
        known += [*_wrapped(self.read_as, 2), *([f"  {self._trust}"] if self._trust else [])]
        lines = [self._head, *known, ""]
        for e in self.evidence:
            lines += [
                f"  {e.weight:<8} {e.threshold.measure:<42} {e.shown:>7}  {e.limit}",
                *_wrapped(f"since epoch {e.since}: {e.threshold.words}", 11),
                *_wrapped(f"threshold: {e.threshold.source}; {e.rate}", 11),
            ]
        lines += [] if self.evidence else [f"  {self._seen}"]
        lines += ["", *_wrapped(f"take     {self._taken}", 2, 11)]
        if self.take.genotype is not None and self.state != "healthy":
            lines += _wrapped(str(self.take.genotype), 11)
        lines += _wrapped(f"cost     {self.cost_line}", 2, 11) if self.cost else []
        for i, remedy in enumerate(self.remedies):
            lines += [*([] if i else [""]), f"  {'' if i else 'try':<8} {remedy.setting}", *_wrapped(remedy.why, 13)]
        if self.missing:
            lines += ["", *_wrapped(f"missing  {', '.join(self.missing)}", 2, 11)]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def markdown(self) -> str:
        """For TensorBoard's text page and reports."""
        head, about = f"## {self._head[0].upper()}{self._head[1:]}", f"{self.space}, {self._where}. {self._trust}"
        lines = [head, "", about.rstrip(), ""]
        if self.evidence:
            lines += ["| sign | measured | meaning |", "|---|---|---|"]  # few columns: TensorBoard breaks words
            lines += [
                f"| **{e.weight}**: {e.threshold.measure} | {e.shown} ({e.limit}) since epoch {e.since} | "
                f"{e.threshold.words} ({e.threshold.source}; {e.rate}) |"
                for e in self.evidence
            ]
        else:
            lines += [f"{self._seen[0].upper()}{self._seen[1:]}."]
        lines += ["", f"**Take** {self._taken}."]
        if self.take.genotype is not None:
            lines += ["", f"`{self.take.genotype}`"]
        if self.cost:
            lines += ["", f"**Cost** {self.cost_line}."]
        if self.remedies:
            lines += ["", "**Try**", "", *(f"- `{remedy.setting}`: {remedy.why}" for remedy in self.remedies)]
        if self.missing:
            lines += ["", f"Not measured: {', '.join(self.missing)}."]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """JSON with a schema version: state, epochs, evidence with numbers and thresholds, genotype, remedies."""
        data = {
            "schema": SCHEMA, "state": self.state, "since": self.since, "epoch": self.epoch, "planned": self.planned,
            "finished": self.finished, "space": self.space, "evidence": [e.as_data() for e in self.evidence],
            "take": {
                "epoch": self.take.epoch,
                "genotype": None if self.take.genotype is None else json.loads(self.take.genotype.to_json()),
                "why": self.take.why,
            },
            "try": [asdict(remedy) for remedy in self.remedies],
            "missing": list(self.missing), "first": self.first, "read_as": self.read_as,
            "cost": self.cost and {**asdict(self.cost), "met": self.cost.met, "to_take": self.cost_to_take},
        }  # fmt: skip
        return json.dumps(data, indent=2, allow_nan=False) + "\n"

    @property
    def cost_line(self) -> str:
        """One line on the cost of the genotype, and of the one to take; empty where the search has no cost."""
        if self.cost is None or self.take.epoch is None or self.cost_to_take is None:
            return self.cost.line if self.cost else ""
        return self.cost.line + self.cost.beside(self.take.epoch, self.cost_to_take)

    def _sentence(self, e: Evidence) -> str:
        """What a sign means, with its figure, such as ``α is still almost uniform (entropy 0.995 after 10 epochs)``."""
        clause, comma, rest = e.threshold.words.partition(",")
        after = e.epoch + 1 - self.first
        epochs = f"{after} epoch{'' if after == 1 else 's'}"
        return f"{clause} ({e.threshold.measure} {e.shown} after {epochs}, {e.limit}){comma}{rest}"

    @property
    def _head(self) -> str:
        return self.state if self.since is None or self.state in SENTENCES else f"{self.state} since epoch {self.since}"

    @property
    def _where(self) -> str:
        end = "finished" if self.finished else "running"
        return f"{end} at epoch {self.epoch}" + (f" of {self.planned} (from {self.first})" if self.planned else "")

    @property
    def _trust(self) -> str:
        return f"This verdict on {RATES[self.state]}" if self.state in RATES else ""

    @property
    def _seen(self) -> str:
        hint = next((e for e in self.evidence if e.weight == "hints"), None)
        if hint is None:
            return f"no sign of collapse up to epoch {self.epoch}"
        return f"one hint up to epoch {self.epoch}: {hint.threshold.measure} {hint.shown} ({hint.limit})"

    @property
    def _taken(self) -> str:
        which = "the final genotype" if self.take.epoch is None else f"the genotype after epoch {self.take.epoch}"
        return f"{which}: {self.take.why}"


def _wrapped(text: str, first: int, rest: int | None = None) -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=" " * first, subsequent_indent=" " * (first if rest is None else rest),
        break_on_hyphens=False,
    )  # fmt: skip
