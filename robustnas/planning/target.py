"""What a configuration trains: a search or an evaluation, its space, its data, and the options that size it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustnas.cli.configuration import instance_of
from robustnas.data import ImageData
from robustnas.planning import rules
from robustnas.planning.given import value_at
from robustnas.planning.rules import Rules, Size
from robustnas.runs.record import read_genotype
from robustnas.spaces import SearchSpace, find_space
from robustnas.spaces.space import SKELETONS
from robustnas.training import Found, SearchModule

NETWORK = "model.init_args.architecture.init_args"
BATCH, EPOCHS = "data.init_args.batch_size", "trainer.max_epochs"
LR = "model.init_args.lr"
ARCH_LR, ARCH_START = "model.init_args.arch_lr", "model.init_args.arch_start"


@dataclass(frozen=True)
class Target:
    """What is trained, on which data.

    Args:
        searches: Whether it is a search.
        space: The search space; ``None`` for a network that is not one of a genotype, whose size is not chosen.
        samples: Images of an epoch: of an evaluation all that it trains on, of a search those of the smaller role.
        side: Smaller side of the images.
        classes: Outputs.
    """

    searches: bool
    space: SearchSpace | None
    samples: int
    side: int
    classes: int

    @classmethod
    def of(cls, sections: Mapping[str, Any]) -> Target:
        """That of a configuration, whose data are read."""
        model = sections["model"]
        searches = issubclass(_class_of(model["class_path"]), SearchModule)
        space = _space_of(model, searches)
        data: ImageData = instance_of(ImageData, "data", {**sections["data"]})
        counts = {role: len(indices) for role, indices in data.split.indices.items()}
        if searches:
            samples = min(counts["weights"], counts["arch"] or counts["weights"])
        else:
            on_selection = bool(model["init_args"].get("train_on_selection"))
            samples = counts["weights"] + counts["arch"] + (counts["selection"] if on_selection else 0)
        return cls(searches, space, samples, min(data.image_shape[1:]), data.num_classes)

    @property
    def rules(self) -> Rules:
        """The rules for its kind of run."""
        return rules.SEARCH if self.searches else rules.EVALUATION

    @property
    def skeleton(self) -> str:
        """The skeleton of its space."""
        return "" if self.space is None else self.space.skeleton

    @property
    def depth_name(self) -> str | None:
        """The argument that sets the depth, ``layers`` or ``cells``; ``None`` where there is none."""
        return None if self.space is None else SKELETONS[self.skeleton].depth

    def option(self, name: str) -> str:
        """The dotted option of an argument of the network."""
        return f"{'model.init_args' if self.searches else NETWORK}.{name}"

    def values(self, size: Size) -> dict[str, Any]:
        """The options of a size."""
        depth = {} if size.depth is None or self.depth_name is None else {self.option(self.depth_name): size.depth}
        return {self.option("channels"): size.channels, **depth}

    def size_in(self, sections: Mapping[str, Any]) -> Size | None:
        """The size that a configuration has; ``None`` where the network is not one of a genotype."""
        if self.space is None:
            return None
        depth = value_at(sections, self.option(self.depth_name)) if self.depth_name else None
        if self.depth_name and depth is None:
            depth = SKELETONS[self.skeleton].default_depth
        return Size(value_at(sections, self.option("channels")), depth)


def _class_of(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)  # imported already, when the options were parsed
    return found


def _space_of(model: Mapping[str, Any], searches: bool) -> SearchSpace | None:
    if searches:
        return find_space(model["init_args"]["space"])
    architecture = model["init_args"]["architecture"]
    if not issubclass(_class_of(architecture["class_path"]), Found):
        return None
    held = architecture["init_args"]
    return find_space(held.get("space") or read_genotype(held["genotype"]).space)
