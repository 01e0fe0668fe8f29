"""The file of a tuning: what is run, what may vary, and how it is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from robustnas.runtime.paths import expand, shipped_config
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.studies.study import read_options, read_recipe
from robustnas.studies.trial import Recipe
from robustnas.tuning.dimensions import Dimension, read_dimension

Command = Literal["evaluate", "fit"]
SamplerName = Literal["TPE", "random"]
PrunerName = Literal["ASHA", "Hyperband", "none"]

KEYS = (
    "name", "command", "run", "config", "options", "space", "metric", "trials", "sampler", "pruner", "confirm", "seed",
)  # fmt: skip
GENOTYPE = "genotype"  # the key of a space that names the space of genotypes
TRIALS = 20
MAX_TRIALS = 100_000
CLOSED = ("test", "truth")  # groups of metrics that choose nothing


@dataclass(frozen=True)
class Sampler:
    """How values are proposed: by the tree-structured Parzen estimator, or uniformly at random."""

    name: SamplerName = "TPE"
    startup: int = 10  # trials at random before it learns from them


@dataclass(frozen=True)
class Pruner:
    """Which trials are stopped early: those that are not among the best ``1 / reduction`` at a rung of epochs."""

    name: PrunerName = "ASHA"
    min_epochs: int = 1  # the first rung
    reduction: int = 3


@dataclass(frozen=True)
class Confirm:
    """How many of the best trials are trained again, beside the untuned configuration, with how many fresh seeds."""

    best: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class Tuning:
    """What a tuning file says."""

    name: str
    command: Command
    run: str | None  # search, or genotype as a file or text, that an evaluation trains
    recipe: Recipe
    space: Mapping[str, Dimension]
    genotype: str | None = None  # search space of the genotypes that are searched too
    metric: str | None = None  # None: the first score of the validation
    trials: int = TRIALS
    sampler: Sampler = field(default_factory=Sampler)
    pruner: Pruner = field(default_factory=Pruner)
    confirm: Confirm | None = field(default_factory=Confirm)
    seed: int = 0


def read_tuning(path: str) -> Tuning:
    """Read a tuning file, or the one of that name in ``robustnas.configs.tunings``, but not what it names."""
    file = expand(path, "TUNING")
    if not file.is_file() and (shipped := shipped_config(path, "tunings")) is not None:
        file = shipped
    held = read_yaml(file)
    if not isinstance(held, dict) or not held:
        raise ValueError(f"Expected {path} to be a tuning with a `space`, but got {held!r}.")
    if unknown := [str(key) for key in held if key not in KEYS]:
        raise ValueError(f"Expected a tuning to have only {', '.join(KEYS)}, but {path} has {', '.join(unknown)}.")
    return _tuning(held, file)


def _tuning(held: Mapping[str, Any], file: Path) -> Tuning:
    name = held.get("name", file.stem)
    if not isinstance(name, str) or not name.strip() or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(f"Expected `name` to be a text that can name a folder, but got {name!r}.")
    command = held.get("command", "evaluate")
    if command not in get_args(Command):
        raise ValueError(f"Expected `command` to be one of {', '.join(get_args(Command))}, but got {command!r}.")
    run, genotype = held.get("run"), _genotype(held.get("space"))
    if run is not None and not isinstance(run, str):
        raise ValueError(f"Expected `run` to be a run folder or a genotype, but got {run!r}.")
    if command == "fit" and (run is not None or genotype is not None):
        raise ValueError(
            f"Expected `{'run' if run is not None else 'space.genotype'}` with `command: evaluate`, since a search "
            "finds its own genotype, but got `command: fit`."
        )
    given = {key: held[key] for key in ("config", "options") if key in held}
    recipe = read_recipe("the tuning", given, file.parent, bare=True)
    return Tuning(
        name, command, run, recipe, _space(held.get("space"), file), genotype, _metric(held.get("metric")),
        _whole("trials", held.get("trials", TRIALS), 1, MAX_TRIALS), _sampler(held.get("sampler", "TPE")),
        _pruner(held.get("pruner", "ASHA")), _confirm(held.get("confirm", {})),
        _whole("seed", held.get("seed", 0), 0, 2**32 - 1),
    )  # fmt: skip


def _genotype(space: Any) -> str | None:
    given = space.get(GENOTYPE) if isinstance(space, dict) else None
    if given is not None and not isinstance(given, str):
        raise ValueError(f"Expected `space.genotype` to be the name of a search space, but got {given!r}.")
    return given


def _space(given: Any, file: Path) -> dict[str, Dimension]:
    """Dotted names of options with what they may be; nested ones are taken apart."""
    if not isinstance(given, dict) or not given:
        raise ValueError(
            f"Expected `space` to name options and what they may be, but got {given!r}: nothing to tune in {file}."
        )
    found: dict[str, Dimension] = {}
    for name, value in _flat(given).items():
        read_options("space", {name: value})  # refuses what each trial sets itself
        found[name] = read_dimension(f"space.{name}", value)
    return found


def _flat(given: Mapping[Any, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{before}{str(key).removeprefix('--')}"
        if name == GENOTYPE:
            continue
        nested = isinstance(value, dict) and value and not {"low", "high", "choices"} & set(value)
        for dotted, one in (_flat(value, f"{name}.") if nested else {name: value}).items():
            if dotted in found:
                raise ValueError(f"Expected `space` to have each option once, but got `{dotted}` twice.")
            found[dotted] = one
    return found


def _metric(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or "/" not in given:
        raise ValueError(f"Expected `metric` to be the name of a metric, such as val/top1, but got {given!r}.")
    if (group := given.partition("/")[0]) in CLOSED:
        why = "the test set is for what has been chosen" if group == "test" else "a table's accuracies are for judging"
        raise ValueError(f"Expected `metric` to be one that may choose, such as val/top1, but got {given!r}: {why}.")
    return given


def _sampler(given: Any) -> Sampler:
    held = _named("sampler", given, SamplerName, ("startup",))
    return Sampler(held["name"], _whole("sampler.startup", held.get("startup", Sampler.startup), 1, MAX_TRIALS))


def _pruner(given: Any) -> Pruner:
    held = _named("pruner", given, PrunerName, ("min_epochs", "reduction"))
    least = _whole("pruner.min_epochs", held.get("min_epochs", Pruner.min_epochs), 1, MAX_TRIALS)
    return Pruner(held["name"], least, _whole("pruner.reduction", held.get("reduction", Pruner.reduction), 2, 100))


def _confirm(given: Any) -> Confirm | None:
    if given is None or given == "none":
        return None
    if not isinstance(given, dict) or set(given) - {"best", "seeds"}:
        raise ValueError(f"Expected `confirm` to be none, or to have only best and seeds, but got {given!r}.")
    best = _whole("confirm.best", given.get("best", Confirm.best), 1, MAX_TRIALS)
    return Confirm(best, _whole("confirm.seeds", given.get("seeds", Confirm.seeds), 2, 1000))


def _named(key: str, given: Any, names: Any, more: tuple[str, ...]) -> dict[str, Any]:
    held = given if isinstance(given, dict) else {"name": "none" if given is None else given}
    if set(held) - {"name", *more}:
        raise ValueError(f"Expected `{key}` to have only name, {', '.join(more)}, but got {given!r}.")
    if held.get("name") not in get_args(names):
        raise ValueError(f"Expected `{key}` to be one of {', '.join(get_args(names))}, but got {held.get('name')!r}.")
    return dict(held)


def _whole(name: str, given: Any, least: int, most: int) -> int:
    if type(given) is not int or not least <= given <= most:
        raise ValueError(f"Expected `{name}` to be a whole number from {least} to {most}, but got {given!r}.")
    return given
