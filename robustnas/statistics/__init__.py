"""What numbers from several runs say, and what so few of them cannot: scipy and numpy only, arrays in, records out.

Every result carries its n, every bootstrap is seeded, and a score that is missing is refused, not dropped.
"""

from robustnas.statistics.agreement import Correlation, Lead, Separation, kendall, lead_time, separation, spearman
from robustnas.statistics.effects import Effect, Factorial, Term, add_one_in, factorial, leave_one_out
from robustnas.statistics.friedman import Friedman, friedman
from robustnas.statistics.intervals import Interval, Proportion, deviation_interval, mean_interval, proportion
from robustnas.statistics.pairs import Comparison, Matched, Paired, against, compare, holm, match, pairs_needed
from robustnas.statistics.power import PowerNote, note, power, seeds_needed, smallest_difference
from robustnas.statistics.profiles import Distribution, Profile, distribution, profile
from robustnas.statistics.ranks import Ranking, critical_difference, rank
from robustnas.statistics.summary import Best, Summary, summarise
from robustnas.statistics.unpaired import RelativeImprovement, Unpaired, compare_unpaired, relative_improvement

__all__ = [
    "Best",
    "Comparison",
    "Correlation",
    "Distribution",
    "Effect",
    "Factorial",
    "Friedman",
    "Interval",
    "Lead",
    "Matched",
    "Paired",
    "PowerNote",
    "Profile",
    "Proportion",
    "Ranking",
    "RelativeImprovement",
    "Separation",
    "Summary",
    "Term",
    "Unpaired",
    "add_one_in",
    "against",
    "compare",
    "compare_unpaired",
    "critical_difference",
    "deviation_interval",
    "distribution",
    "factorial",
    "friedman",
    "holm",
    "kendall",
    "lead_time",
    "leave_one_out",
    "match",
    "mean_interval",
    "note",
    "pairs_needed",
    "power",
    "profile",
    "proportion",
    "rank",
    "relative_improvement",
    "seeds_needed",
    "separation",
    "smallest_difference",
    "spearman",
    "summarise",
]
