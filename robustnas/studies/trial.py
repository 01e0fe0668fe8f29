"""A trial: one run of a study, with its whole configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustnas.studies.study_table import StudyTable

Options = dict[str, Any]
EVALUATION = "evaluation"  # the stage and its folder


@dataclass(frozen=True)
class Recipe:
    """A configuration of ``robustnas fit``: YAML files, the later over the earlier, and options over them."""

    configs: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationRecipe(Recipe):
    """How networks that were found are trained: once, or under each of some settings."""

    settings: Mapping[str, Options] = field(default_factory=dict)  # name to options over the others
    same_size: bool = False  # whether networks are as large as those of the search


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
    evaluation_recipe: EvaluationRecipe | None = field(default=EvaluationRecipe(), repr=False)  # None: not trained
    search: Mapping[str, Any] = field(default_factory=dict, repr=False)  # complete, but for folder and seed
    evaluation: Mapping[str, Any] | None = field(default=None, repr=False)  # but for the network
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # name to such a configuration
    choose: str | None = None  # metric by which one seed of the group is chosen; None: every seed counts
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
    def evaluations(self) -> dict[str, Mapping[str, Any]]:
        """Folder of each training of what is found to its configuration; none where nothing is trained."""
        if self.evaluation is None:
            return {}
        if not self.settings:
            return {EVALUATION: self.evaluation}
        return {f"{EVALUATION}/{in_folder(name)}": held for name, held in self.settings.items()}

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


def in_folder(setting: str) -> str:
    """The name of a setting of the evaluation as that of a folder: ``lr=0.1,decay=1e-4``."""
    return re.sub(r"[^\w.+=,-]+", "-", setting.replace(", ", ",")).strip(".-") or "-"


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "-"
