"""Statistics of several runs: intervals, paired and unpaired tests, effects, ranks, power. Needs scipy and numpy only.

Every result states its n, every bootstrap is seeded, and a missing score is an error, not dropped.
"""

from robustnas.statistics.agreement import Correlation, Lead, Separation, kendall, lead_time, separation, spearman
from robustnas.statistics.effects import Effect, Factorial, Term, factorial
from robustnas.statistics.intervals import Interval, Proportion, deviation_interval, mean_interval, proportion
from robustnas.statistics.pairs import (
    Comparison,
    Matched,
    Paired,
    compare,
    compare_to_baseline,
    holm,
    match,
    pairs_needed,
)
from robustnas.statistics.pareto import pareto_front
from robustnas.statistics.power import PowerNote, power, power_note, seeds_needed, smallest_difference
from robustnas.statistics.profiles import Distribution, Profile, distribution, profile
from robustnas.statistics.ranks import Friedman, Ranking, critical_difference, friedman, rank
from robustnas.statistics.summary import Best, Summary, summarise
from robustnas.statistics.unpaired import RelativeImprovement, Unpaired, compare_unpaired, relative_improvement

__all__ = [
    "Best", "Comparison", "Correlation", "Distribution", "Effect", "Factorial", "Friedman", "Interval", "Lead",
    "Matched", "Paired", "PowerNote", "Profile", "Proportion", "Ranking", "RelativeImprovement", "Separation",
    "Summary", "Term", "Unpaired", "compare", "compare_to_baseline", "compare_unpaired", "critical_difference",
    "deviation_interval", "distribution", "factorial", "friedman", "holm", "kendall", "lead_time", "match",
    "mean_interval", "pairs_needed", "pareto_front", "power", "power_note", "profile", "proportion", "rank",
    "relative_improvement", "seeds_needed", "separation", "smallest_difference", "spearman", "summarise",
]  # fmt: skip
