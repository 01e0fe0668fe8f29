"""The complete configuration of every trial, checked before anything runs, and its fingerprint."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from robustnas.cli.configuration import configuration, recipe_of
from robustnas.spaces import find_space
from robustnas.studies.searchers import baseline_of
from robustnas.studies.settings import size_of
from robustnas.studies.trial import Recipe, Trial

DEFAULT_EPOCHS = 1000  # of Lightning's trainer
NETWORK = "model.init_args.architecture.init_args"
QUIET = "--trainer.enable_progress_bar=false"  # first, so that the files and options of a study override it


def configured(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of a study with their configurations, checked, and with what it leaves to its baselines."""
    parsed: dict[str, dict[str, Any]] = {}  # each recipe once
    longest: dict[tuple[str | None, str | None], list[int | None]] = {}
    found = {}
    for trial in sorted(trials, key=lambda trial: trial.baseline):  # searches first, whose cost baselines may have
        try:
            trial = _with_configurations(trial, parsed)
            costs = longest.setdefault((trial.space, trial.data), [])
            if trial.baseline:
                cost = None if None in costs or not costs else max(each for each in costs if each is not None)
                baseline = baseline_of(trial).planned(trial, cost)
                own = baseline.search(trial.search)
                trial = replace(
                    trial, arguments=asdict(baseline), search=_parse(own, parsed) if own else trial.search,
                    choose=trial.choose if own else None,
                )  # fmt: skip
            else:
                costs.append(epochs_of(trial.search))
            _check_measured(trial)
            found[trial.key] = replace(trial, fingerprint=_fingerprint(trial))
        except ValueError as error:
            if not str(error).startswith("Expected "):
                raise
            raise ValueError(f"{str(error).rstrip('.')} (in {trial.group}).") from error
    return [found[trial.key] for trial in trials]


def _check_measured(trial: Trial) -> None:
    """Refuse a search that does not validate where its validation chooses."""
    if trial.choose is not None and trial.search["trainer"].get("limit_val_batches") == 0:
        raise ValueError(f"Expected `trainer.limit_val_batches` above 0, since {trial.choose} chooses, but got 0.")


def epochs_of(search: Mapping[str, Any]) -> int | None:
    """Epochs of a search by its configuration, its selection included; ``None`` if it has no end."""
    given = search["model"]["init_args"]
    epochs = search["trainer"].get("max_epochs")
    epochs = DEFAULT_EPOCHS if epochs is None else int(epochs)
    selection = given.get("selection") or {}
    module, _, name = str(selection.get("class_path", "")).rpartition(".")
    if module and epochs > 0:
        part = getattr(importlib.import_module(module), name)(**selection.get("init_args", {}))
        epochs += part.epochs(find_space(given["space"]))
    return epochs if epochs > 0 else None


def _parse(given: Recipe | Mapping[str, Any], parsed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    key = json.dumps(asdict(given) if isinstance(given, Recipe) else given, default=str)
    if key not in parsed:
        parsed[key] = configuration(arguments_of(given) if isinstance(given, Recipe) else given)
    return parsed[key]


def arguments_of(recipe: Recipe) -> list[str]:
    """A recipe as the parser of ``robustnas fit`` takes it: a class comes before its arguments, whoever names which."""
    options = sorted(recipe.options.items(), key=lambda option: option[0].count("."))
    return [QUIET, *(f"--config={name}" for name in recipe.configs), *(f"--{k}={_as_text(v)}" for k, v in options)]


def _as_text(value: Any) -> str:
    if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return json.dumps(value)


def _with_configurations(trial: Trial, parsed: dict[str, dict[str, Any]]) -> Trial:
    """The trial with its configurations: a search in a known space, in that of the table, and its evaluation."""
    search = _parse(trial.search_recipe, parsed)
    name = search["model"].get("init_args", {}).get("space")
    if name is None:
        raise ValueError(f"Expected a variant to be a search, but got {search['model']['class_path']}.")
    space = find_space(name)
    if trial.table is not None:
        trial.table.read(space)
    if (recipe := trial.evaluation_recipe) is None:
        if (trial.score or "").startswith("test/"):
            raise ValueError(f"Expected `evaluation`, since `score` is {trial.score}, but got none.")
        return replace(trial, search=search, evaluation=None)
    size = {f"{NETWORK}.{one}": value for one, value in size_of(search).items()} if recipe.same_size else {}
    options = {f"{NETWORK}.genotype": "genotype", f"{NETWORK}.space": name, "data": search["data"], **size,
        **recipe.options}  # fmt: skip
    configs = recipe.configs or (recipe_of(name),)
    settings = {one: _parse(Recipe(configs, {**options, **given}), parsed) for one, given in recipe.settings.items()}
    _check_distinct(settings)
    return replace(trial, search=search, evaluation=_parse(Recipe(configs, options), parsed), settings=settings)


def _check_distinct(settings: Mapping[str, Any]) -> None:
    """Refuse two settings of an evaluation that are one."""
    for (one, held), (other, again) in itertools.combinations(settings.items(), 2):
        if held == again:
            raise ValueError(
                f"Expected `evaluation.settings` to differ in what they train, but {one!r} and {other!r} do not."
            )


def _fingerprint(trial: Trial) -> str:
    held: dict[str, Any] = {
        "search": trial.search, "evaluation": trial.evaluation, "seed": trial.seed, "table": trial.table,
        "baseline": [trial.variant, trial.arguments] if trial.baseline else None,
    }  # fmt: skip
    if trial.settings:
        held["settings"] = trial.settings
    if trial.choose:
        held["choose"] = trial.choose
    return hashlib.sha256(json.dumps(held, sort_keys=True, default=asdict).encode()).hexdigest()[:16]
