"""What a search has to beat: random search, evolution, successive halving and a plain residual network."""

from robustnas.studies.searchers.sampling import Baseline, RandomSearch, RegularisedEvolution, affordable
from robustnas.studies.searchers.trace import Evaluate, Trace, Trial

__all__ = ["Baseline", "Evaluate", "RandomSearch", "RegularisedEvolution", "Trace", "Trial", "affordable"]
