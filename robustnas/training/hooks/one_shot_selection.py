"""The end of a search whose selection measures the supernet once, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustnas.runs.record import SCHEMA, write_json
from robustnas.spaces import Genotype
from robustnas.strategies import Selection
from robustnas.strategies.selection import Selected
from robustnas.training.ended_search import Ended
from robustnas.training.lightning.loops import training_ends
from robustnas.training.lightning.progress import say
from robustnas.training.recorder import run_folder
from robustnas.training.scoring import image_data
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState


class OneShotSelection(SearchHook):
    """Selects when the last epoch of a search has ended."""

    name = "one_shot_selection"

    def __init__(self, selection: Selection, search: SearchState) -> None:
        self.selection, self.search = selection, search
        self.found: Selected | None = None

    def genotype(self) -> Genotype | None:
        """What was selected; ``None`` before the end."""
        return None if self.found is None else self.found.genotype

    def setup(self) -> None:
        image_data(self.search.trainer, f"{type(self.selection).__name__} measures the supernet")

    def end_epoch(self) -> None:
        trainer = self.search.trainer
        self.found = None
        if not training_ends(trainer):
            return
        self.found = self.selection.select(Ended(self.search, self.search.current_epoch))
        if self.found.says:
            say(trainer, self.found.says)
        folder = run_folder(trainer)  # processes wait for each other here
        if trainer.is_global_zero:
            write_record(folder, self.found)

    def state_dict(self) -> dict[str, Any]:
        found = self.found
        return {} if found is None else {"genotype": found.genotype.to_json(), "record": dict(found.record)}

    def load_state_dict(self, state: Any) -> None:
        self.found = Selected(Genotype.from_json(state["genotype"]), state["record"]) if state else None


def write_record(folder: Path, selected: Selected) -> None:
    """Write what a selection rests on."""
    for name, record in selected.record.items():
        write_json(folder / name, {"schema": SCHEMA, **record})
