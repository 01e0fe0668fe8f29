"""The trials of a study: every combination of its variants, spaces, data, factors and seeds."""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Sequence
from functools import partial

from robustnas.analysis.metrics import TRUE_ACCURACY
from robustnas.studies.study import Study
from robustnas.studies.trial import Options, Recipe, Trial

ON, OFF = "on", "off"
TRIALS = 100_000  # of a study; the largest published ones have some thousand runs


def trials_of(study: Study) -> list[Trial]:
    """The trials of a study, variants before baselines, and all of one seed before any of the next."""
    _check_count(study)
    first = next(iter(study.variants.values()))
    unnamed: dict[str | None, Options] = {None: {}}
    places = list(itertools.product((study.spaces or unnamed).items(), (study.data or unnamed).items()))
    table, score = study.table, study.score
    if table and study.evaluation is None:
        score = score or TRUE_ACCURACY.name  # nothing is trained, and a table knows
    shared = {"diagnostics.table": table.file, "diagnostics.accuracy": table.accuracy} if table else {}
    trials = []
    for seed in study.seeds:
        for (space, in_space), (data, on_data) in places:
            common = {**shared, **study.common, **in_space, **on_data}
            made = partial(Trial, space=space, data=data, seed=seed, evaluation_recipe=study.evaluation, score=score,
                table=table, choose=study.choose)  # fmt: skip
            for name, recipe in study.variants.items():
                for levels, switched in combinations(study):
                    search = Recipe(recipe.configs, {**common, **recipe.options, **switched})
                    trials.append(made(name, levels=levels, search_recipe=search))
            for name, arguments in study.baselines.items():
                search = Recipe(first.configs, common)
                trials.append(made(name, levels={}, baseline=True, search_recipe=search, arguments=arguments))
    _check_folders(trials)
    return trials


def _check_count(study: Study) -> None:
    """Refuse a grid that nobody can run, before it is made."""
    levels = math.prod(len(each) for each in study.overrides.values())
    factors = len(study.ablation_factors)
    switched = 2**factors if study.design == "grid" else 1 + factors
    places = max(1, len(study.spaces)) * max(1, len(study.data)) * len(study.seeds)
    if (count := places * (len(study.variants) * levels * switched + len(study.baselines))) > TRIALS:
        raise ValueError(
            f"Expected a study to have at most {TRIALS:,} trials, but its variants, spaces, data, overrides, "
            f"ablation factors and seeds combine to {count:.0e}."
        )


def combinations(study: Study) -> list[tuple[dict[str, str], Options]]:
    """Each combination of the factors of a study: the level of each factor, and the options that it sets."""
    choices = [[(name, level, given) for level, given in levels.items()] for name, levels in study.overrides.items()]
    found = []
    for factors in itertools.product(*choices):
        for on in _switched(study):
            switches = [
                (name, ON, given) if name in on else (name, OFF, {}) for name, given in study.ablation_factors.items()
            ]
            options: Options = {}
            for name, _, given in (*factors, *switches):
                if both := sorted(set(given) & set(options)):
                    raise ValueError(
                        f"Expected each option to be set by one factor, but {name} and another set {both[0]}."
                    )
                options |= given
            found.append(({name: level for name, level, _ in (*factors, *switches)}, options))
    return found


def _switched(study: Study) -> list[set[str]]:
    """The ablation factors that are on, for each combination of the design."""
    factors = study.ablation_factors
    if study.design == "leave_one_out":
        return [set(factors), *(set(factors) - {name} for name in factors)]
    if study.design == "add_one":
        return [set(), *({name} for name in factors)]
    chosen = itertools.product((False, True), repeat=len(factors))
    return [set(itertools.compress(factors, on)) for on in chosen]


def select_trials(trials: Sequence[Trial], patterns: Sequence[str]) -> list[Trial]:
    """The trials whose key matches a pattern or lies below it; ``*`` stands for anything, no patterns for all."""
    for pattern in patterns:
        if not any(_fits(trial, pattern) for trial in trials):
            known = sorted({trial.group for trial in trials})
            raise ValueError(f"Expected `--only` to name trials among {', '.join(known)}, but {pattern!r} fits none.")
    return [trial for trial in trials if not patterns or any(_fits(trial, pattern) for pattern in patterns)]


def _fits(trial: Trial, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(trial.key, form) for form in (pattern, f"{pattern.rstrip('/')}/*"))


def _check_folders(trials: Sequence[Trial]) -> None:
    """Refuse two trials in one folder, also where upper and lower case are one."""
    seen: dict[str, Trial] = {}
    for trial in trials:
        other = seen.setdefault(trial.folder.casefold(), trial)
        if other is not trial:
            raise ValueError(
                f"Expected each trial to have a folder of its own, but {_named(other)} and {_named(trial)} "
                f"would share {trial.folder}; name them more differently."
            )


def _named(trial: Trial) -> str:
    return repr(
        ", ".join(str(name) for name in (trial.variant, trial.space, trial.data, *trial.levels.values()) if name)
    )
