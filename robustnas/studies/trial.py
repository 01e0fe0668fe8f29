"""A trial: one run of a study, with its whole configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustnas.studies.study_table import StudyTable

Options = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A configuration of ``robustnas fit``: YAML files, the later over the earlier, and options over them."""

    configs: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One run of a study: a search with one seed, and the evaluation of what it finds."""

    variant: str  # or the baseline's name
    space: str | None
    data: str | None
    levels: Mapping[str, str]  # of each factor; an ablation factor is on or off
    seed: int
    baseline: bool = False
    search_recipe: Recipe = field(default=Recipe(), repr=False)  # of a baseline: of the first variant
    evaluation_recipe: Recipe | None = field(default=Recipe(), repr=False)  # None: not trained
    search: Mapping[str, Any] = field(default_factory=dict, repr=False)  # complete, but for folder and seed
    evaluation: Mapping[str, Any] | None = field(default=None, repr=False)  # but for the network
    score: str | None = None  # metric that counts; None: the first of the test
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the baseline
    table: StudyTable | None = None
    fingerprint: str = ""  # a hash of the whole configuration, see robustnas.studies.configuration

    @property
    def group(self) -> str:
        """The trial without its seed, as a path: ``DARTS/NASBench201/digits/lr=low``."""
        named = [_as_folder(name) for name in (self.variant, self.space, self.data) if name is not None]
        return "/".join([*named, *(f"{_as_folder(name)}={_as_folder(level)}" for name, level in self.levels.items())])

    @property
    def folder(self) -> str:
        """Its folder inside the study's."""
        return f"trials/{self.key}"

    @property
    def key(self) -> str:
        """Its name in the terminal and for ``--only``."""
        return f"{self.group}/seed-{self.seed}"

    @property
    def factors(self) -> dict[str, Any]:
        """Its place in the grid, as files hold it."""
        return {
            "variant": self.variant, "space": self.space, "data": self.data, "levels": dict(self.levels),
            "seed": self.seed, "baseline": self.baseline,
        }  # fmt: skip

    @property
    def search_space(self) -> str:
        """Name or import path of the search space."""
        return str(self.search["model"]["init_args"]["space"])


def training_of(evaluation: Mapping[str, Any], found: str | Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's configuration for a genotype (text, file or folder), or a network with its ``class_path``."""
    model = evaluation["model"]
    network = model["init_args"]["architecture"]
    if isinstance(found, str):
        found = {**network, "init_args": {**network["init_args"], "genotype": found}}
    return {**evaluation, "model": {**model, "init_args": {**model["init_args"], "architecture": dict(found)}}}


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "-"
