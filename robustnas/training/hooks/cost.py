"""Follows the cost of a search by the table of its penalty, and holds the multiplier of a cost target."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from robustnas.analysis.cost_outcome import CostOutcome
from robustnas.analysis.metrics import COST_MULTIPLIER, EXPECTED_COST, GENOTYPE_COST
from robustnas.cost import UNITS
from robustnas.data import ImageData
from robustnas.data.batch import Batch
from robustnas.spaces import Genotype
from robustnas.strategies import ExpectedCost, Strongest, WithinTarget
from robustnas.training.lightning.loops import trainer_of
from robustnas.training.lightning.progress import say
from robustnas.training.recorder import run_folder
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState

SIZES = ("channels", "layers", "cells", "num_classes", "stem", "image_shape")


class CostHook(SearchHook):
    """Logs expected cost and that of the genotype, moves the multiplier, and reports at the end what was reached.

    The multiplier follows from α alone, so that all processes have the same.
    """

    name = "cost"
    goes_back = True  # with α, whose past it sums up

    def __init__(self, part: ExpectedCost, search: SearchState) -> None:
        self.part, self.search = part, search
        self.held, self.missed = 0.0, False  # the multiplier, and whether the strongest operations miss the target

    @property
    def multiplier(self) -> float:
        """The multiplier while the strongest operations miss the target, and nothing while they meet it."""
        return self.held if self.missed else 0.0

    def setup(self) -> None:
        for sentence in self._remarks():
            say(self.search.trainer, sentence)

    def alpha_moved(self) -> None:
        if self.part.target is not None:
            cost = self._cost(self._present())
            self.held = self.part.ascend(self.held, cost, self.search.arch_lr)
            self.missed = cost > self.part.target

    def last_step(self, batch: Batch) -> None:
        found = {EXPECTED_COST.name: self._expected(), GENOTYPE_COST.name: self._cost(self.search.genotype())}
        multiplier = {COST_MULTIPLIER.name: self.held} if self.part.target is not None else {}
        self.search.log_numbers({**found, **multiplier})

    def end_epoch(self) -> None:
        self._write(finished=False)

    def end_training(self) -> None:
        """Say whether the target was met, once the genotype is final."""
        outcome = self._write(finished=True)
        say(self.search.trainer, f"{outcome.line[0].upper()}{outcome.line[1:]}.")
        if outcome.met is False and (remedy := self._remedy(run_folder(self.search.trainer))):
            say(self.search.trainer, remedy)

    def state_dict(self) -> Any:
        return {"multiplier": self.held, "missed": self.missed} if self.part.target is not None else {}

    def load_state_dict(self, state: Any) -> None:
        self.held, self.missed = (float(state["multiplier"]), bool(state["missed"])) if state else (0.0, False)

    def _present(self) -> Genotype:
        """The strongest operations of the present α, which no selection holds to the target."""
        with torch.no_grad():
            return Strongest().genotype(self.search.space, self.search.architecture_weights())

    def _cost(self, genotype: Genotype) -> float:
        return self.part.genotype_cost(genotype, self.search.space)

    @torch.no_grad()
    def _expected(self) -> float:
        return float(self.part.in_loss(self.search.shares(), self.search.space))

    def _write(self, finished: bool) -> CostOutcome:
        part, genotype = self.part, self.search.genotype()
        outcome = CostOutcome(
            part.measure, self._unit(), part.table, str(genotype), self._cost(genotype), self._expected(), finished,
            part.target, part.reference,
        )  # fmt: skip
        folder = run_folder(self.search.trainer)  # processes wait for each other here
        if self.search.trainer.is_global_zero:
            outcome.write(folder)
        return outcome

    def _remedy(self, folder: Path) -> str:
        """What makes a genotype within the target that was missed, if the rest of the operations allows one."""
        part, search = self.part, self.search
        assert part.target is not None
        within = WithinTarget(part.table, part.target, part.measure)
        genotype = within.genotype(search.space, search.final_architecture_weights())
        if self._cost(genotype) > part.target:
            return ""
        options = {"table": part.table, "measure": part.measure, "target": repr(part.target).removesuffix(".0")}
        words = [word for name, value in options.items() for word in (f"--selection.{name}", value)]
        command = shlex.join(["robustnas", "select", str(folder), "--selection", "WithinTarget", *words])
        return f"`{command}` makes a genotype within the target, without training."

    def _unit(self) -> str:
        batch, device = (self.part.about.get(name) for name in ("batch", "device"))
        where = f" of {batch} on {device}" if self.part.measure == "latency" and batch and device else ""
        return f"{UNITS[self.part.measure]}{where}"

    def _remarks(self) -> Iterator[str]:
        part, space = self.part, self.search.space
        high = part.range(space)[1]
        if part.target is not None and part.target >= high:
            yield (
                f"The dearest architecture costs {high:,.7g} by {part.table}, no more than the target of "
                f"{part.target:,.7g}: every architecture meets it."
            )
        if differing := self._differing():
            said = ", ".join(f"{name} {was} (here {now})" for name, (was, now) in differing.items())
            yield f"{part.table} was measured with {said}: costs and target are those of that network."

    def _differing(self) -> dict[str, tuple[Any, Any]]:
        """Sizes with which the table was measured, and those of this search, where they differ."""
        given, depth = self.search.description["init_args"], self.search.space.rules
        data: Any = getattr(trainer_of(self.search), "datamodule", None)
        own = {name: given.get(name) for name in SIZES}
        own["image_shape"] = list(data.image_shape) if isinstance(data, ImageData) else None
        known = _sized(self.part.about, depth.depth, depth.default_depth)
        own = _sized(own, depth.depth, depth.default_depth)
        return {name: (known[name], own[name]) for name in known if own.get(name) not in (None, known[name])}


def _sized(sizes: Mapping[str, Any], depth: str | None, default: int) -> dict[str, Any]:
    """The sizes that matter in a space, with the depth that stands for none."""
    found = {name: sizes[name] for name in SIZES if name in sizes and name not in {"layers", "cells"} - {depth}}
    return {name: default if name == depth and value is None else value for name, value in found.items()}
