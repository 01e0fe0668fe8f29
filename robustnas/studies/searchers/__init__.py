"""What a gradient search has to beat: random search, evolution, successive halving, weight sharing, a ResNet."""

from __future__ import annotations

from dataclasses import fields

from robustnas.studies.searchers.baseline import Baseline
from robustnas.studies.searchers.halving import SuccessiveHalving
from robustnas.studies.searchers.reference import RandomGenotype, RandomSharing, ResNet
from robustnas.studies.searchers.searcher import RandomSearch, RegularisedEvolution, Search, Searcher, affordable
from robustnas.studies.searchers.trace import Evaluate, Observation, Trace
from robustnas.studies.trial import Trial

__all__ = [
    "BASELINES", "Evaluate", "Observation", "RandomSearch", "RegularisedEvolution", "Search", "Searcher",
    "SuccessiveHalving", "Trace", "affordable", "baseline_of",
]  # fmt: skip

BASELINES: dict[str, type[Baseline]] = {
    kind.__name__: kind
    for kind in (RandomGenotype, RandomSharing, RandomSearch, RegularisedEvolution, SuccessiveHalving, ResNet)
}


def baseline_of(trial: Trial) -> Baseline:
    """The baseline of a trial with its arguments; refused where its name or an argument is unknown."""
    if trial.variant not in BASELINES:
        raise ValueError(f"Expected `baselines` to be among {', '.join(BASELINES)}, but got {trial.variant!r}.")
    kind = BASELINES[trial.variant]
    known = [each.name for each in fields(kind)]
    if unknown := [name for name in trial.arguments if name not in known]:
        wanted = f"only {', '.join(known)}" if known else "no arguments"
        raise ValueError(f"Expected {trial.variant} to have {wanted}, but got `{unknown[0]}`.")
    return kind(**trial.arguments)
