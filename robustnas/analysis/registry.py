"""What an entry of the registry of metrics is, and how entries are found; ``metrics.py`` holds the entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Literal, NamedTuple, ParamSpec, get_args, get_origin, get_type_hints

from robustnas.analysis.thresholds import Threshold

P = ParamSpec("P")
Unit = Literal["", "%", "percent", "edges", "epochs", "seconds"]

SCORES = {"top1": "top-1 accuracy", "accuracy": "accuracy", "map": "mean average precision", "r2": "R²"}
KINDS = {"normal": "normal cell", "reduce": "reduction cell"}  # other kinds of cell are named as they are


@dataclass(frozen=True)
class Metric:
    """What is known of a series, whatever its values are."""

    name: str  #: logged name: a group, a slash and the measure; for series of a part of the network see :meth:`of`
    title: str  #: what it is, in a few words that may stand inside a sentence
    unit: Unit = ""  #: ``%``: shares shown as percentages; ``percent``: percentages; ``edges``: shares of kept edges
    worse: Literal["", "high", "low"] = ""  #: which values are bad; with it the series is an indicator of collapse
    panel: str = ""  #: title of its chart, which entries may share; empty for series that only the report shows
    label: str = ""  #: its label there; by default its title
    by_kind: bool = False  #: whether the panel shows the series of each kind of cell instead of the common one
    unit_interval: bool = False  #: whether all values lie between 0 and 1, as the axis of the chart then does
    reading: tuple[Literal["last", "peak"], ...] = ("last",)  #: how one number is read from the series
    #: Ends of the names of series that its values are uncertain by: bounds, or for ``deviation`` a standard error.
    bounds: tuple[Literal["upper", "lower", "deviation"], ...] = ()
    digits: int = 0  #: significant digits, or decimals of a percentage, of a value that is shown
    charted: bool = True  #: whether the report shows it in a chart, not beside the verdict only
    thresholds: tuple[Threshold, ...] = ()  #: where values begin to be a sign of collapse, each with its source

    def __post_init__(self) -> None:
        named = (replace(t, series=self.name, measure=t.measure or self.title, unit=self.unit) for t in self.thresholds)
        object.__setattr__(self, "thresholds", tuple(named))
        object.__setattr__(self, "digits", self.digits or (1 if self.unit in ("%", "edges", "percent") else 4))

    @property
    def heading(self) -> str:
        """The title as it stands above a chart."""
        return self.title[:1].upper() + self.title[1:]

    def of(self, part: str) -> str:
        """Name of the series of a kind of cell, an operation or another part."""
        return f"{self.name}{'_' if '/' in self.name else '/'}{part}"

    def show(self, value: float) -> str:
        """A value for people."""
        if self.unit == "percent":
            return f"{value:.{self.digits}f} %"
        return f"{100 * value:.{self.digits}f} %" if self.unit in ("%", "edges") else f"{value:.{self.digits}g}"


class Panel(NamedTuple):
    """One chart: what stands above it, the label of each series in it, and whether its axis is that from 0 to 1."""

    title: str
    lines: Mapping[str, str]
    zero_to_one: bool = False


METRICS: dict[str, Metric] = {}
BUILT_IN: set[str] = set()  # names of the entries that come with the package
_ADOPTED: set[str] = set()


def register(metric: Metric) -> Metric:
    """Return an entry after adding it, for the diagnostic that logs the series.

    Raises:
        ValueError: If the name is not a group and a measure such as ``own/score``, or another entry has it.
    """
    if not re.fullmatch(r"\w+(/\w+)?", metric.name):
        raise ValueError(f"Expected `name` to be a group and a measure such as 'own/score', but got {metric.name!r}.")
    if METRICS.get(metric.name, metric) != metric and metric.name not in _ADOPTED:
        raise ValueError(f"Expected the name of a metric to be new, but got {metric.name!r}, which has an entry.")
    _ADOPTED.discard(metric.name)
    METRICS[metric.name] = metric
    return metric


def _registered(make: Callable[P, Metric]) -> Callable[P, Metric]:
    return lambda *args, **kwargs: register(make(*args, **kwargs))


entry = _registered(Metric)  #: an entry of these fields, added


def own_metrics() -> list[dict[str, Any]]:
    """Entries that do not come with the package, as plain data: the manifest of a run keeps them for its readers."""
    return [asdict(metric) for name, metric in METRICS.items() if name not in BUILT_IN]


def adopt(entries: object) -> None:
    """Register entries of :func:`own_metrics` of another process, unless this one has some of those names."""
    for metric in _read(tuple[Metric, ...], entries):
        if metric.name not in METRICS:
            register(metric)
            _ADOPTED.add(metric.name)


def _read(kind: Any, data: Any) -> Any:
    """A value of a type from what JSON holds of it."""
    if get_origin(kind) is tuple and isinstance(data, list):
        return tuple(_read(get_args(kind)[0], part) for part in data)
    if get_origin(kind) is Literal and isinstance(data, str) and data in get_args(kind):
        return data
    if is_dataclass(kind) and isinstance(data, dict):
        hints = get_type_hints(kind)
        with suppress(TypeError):  # of a field that is missing
            return kind(**{name: _read(hints.get(name), value) for name, value in data.items()})  # type: ignore[operator]
    if kind in (str, bool, int, float) and type(data) in (kind, {float: int}.get(kind)):
        return data
    raise ValueError(f"Expected entries of metrics as a run records them, but got {data!r:.80}.")


def find(name: str) -> Metric:
    """The entry of a series, also of one that belongs to a part of the network; a bare one where there is none."""
    stem = name
    while stem:
        if stem in METRICS:
            return METRICS[stem]
        stem = stem[: max(stem.rfind("_"), stem.rfind("/"), 0)]
    return Metric(name, name.rpartition("/")[2].replace("_", " "))


def scores(stage: str) -> tuple[str, ...]:
    """Names of the scores of ``train``, ``val`` or ``test``, in the order in which the first that exists counts."""
    return tuple(f"{stage}/{score}" for score in SCORES)


def uncertainty(name: str) -> tuple[str, ...]:
    """Names of the series of bounds and of the standard error of a series, measured or not; none for most."""
    metric = find(name)
    part = name.removeprefix(metric.name)
    if part.startswith(tuple(f"_{end}" for end in metric.bounds)):
        return ()
    return tuple(f"{metric.name}_{end}{part}" for end in metric.bounds)


def panels(kinds: Iterable[str]) -> list[Panel]:
    """The charts of a search, one for each title of a panel, in the order of the registry."""
    members: dict[str, list[Metric]] = {}
    for metric in METRICS.values():
        if metric.panel:
            members.setdefault(metric.panel, []).append(metric)
    named = {kind: KINDS.get(kind, kind) for kind in kinds}
    lines = {title: dict(pair for one in held for pair in _lines(one, named)) for title, held in members.items()}
    return [Panel(title, lines[title], all(one.unit_interval for one in held)) for title, held in members.items()]


def _lines(metric: Metric, kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    if not metric.by_kind:
        return [(metric.name, metric.label or metric.title)]
    before = f"{metric.label}, " if metric.label else ""
    return [(metric.of(kind), f"{before}{said}") for kind, said in kinds.items()]


def indicators() -> Iterator[tuple[Metric, Literal["last", "peak"]]]:
    """What may foretell a bad end of a search: entries with a bad direction, and how each of them is read."""
    return ((metric, reading) for metric in METRICS.values() if metric.worse for reading in metric.reading)


def thresholds() -> Sequence[Threshold]:
    """Every threshold of the verdict, in the order of the registry."""
    return tuple(threshold for metric in METRICS.values() for threshold in metric.thresholds)
