"""Operations leave at the end of epochs."""

from __future__ import annotations

from robustnas.analysis.metrics import OPERATIONS
from robustnas.data.batch import Batch
from robustnas.strategies import Pruning
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class PruningHook(SearchHook):
    """Asks the rule at the end of each epoch from which α moves on, and logs how many operations are left."""

    name = "pruning"

    def __init__(self, rule: Pruning, search: SearchState) -> None:
        self.rule, self.search = rule, search

    def last_step(self, batch: Batch) -> None:
        search, parameters = self.search, self.search.architecture
        if search.current_epoch >= search.arch_start:
            shares = {kind: share.detach().cpu() for kind, share in parameters.shares().items()}
            context = search.context("arch")
            parameters.active_mask = self.rule.prune(search.space, shares, parameters.active_mask, context)
        search.log_numbers({OPERATIONS.name: float(sum(int(mask.sum()) for mask in parameters.active_mask.values()))})
