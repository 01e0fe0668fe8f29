"""What a gradient search has to beat: random search, evolution, successive halving, weight sharing, a ResNet."""

from robustnas.studies.searchers.searcher import RandomSearch, RegularisedEvolution, Search, Searcher, affordable
from robustnas.studies.searchers.trace import Evaluate, Observation, Trace

__all__ = [
    "Evaluate", "Observation", "RandomSearch", "RegularisedEvolution", "Search", "Searcher", "Trace", "affordable",
]  # fmt: skip
