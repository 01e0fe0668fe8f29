"""The plan of a tuning: the complete configuration of any of its trials, checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any

from robustnas import __version__
from robustnas.analysis.metrics import VAL_LOSS
from robustnas.analysis.registry import METRICS, scores
from robustnas.cli import lightning_cli
from robustnas.cli.configuration import configuration, data_of, recipe_of, section_of
from robustnas.runs.record import read_genotype
from robustnas.runtime.launch import count_processes
from robustnas.runtime.paths import expand
from robustnas.spaces import find_space, is_genotype_text, random_genotype
from robustnas.studies.configuration import NETWORK, arguments_of
from robustnas.studies.results import higher_is_better
from robustnas.studies.trial import EVALUATION, Options, Recipe, training_of
from robustnas.tuning.dimensions import Dimension, Value
from robustnas.tuning.file import Confirm, Pruner, Sampler, Tuning
from robustnas.tuning.genotypes import PREFIX, genotype_dimensions, genotype_of, values_of

SELECTION = "model.init_args.train_on_selection"
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Plan:
    """A tuning with everything that its trials need."""

    name: str
    command: str
    recipe: Recipe  # of the configuration that is not tuned
    dimensions: Mapping[str, Dimension]
    network: str  # genotype that an evaluation trains, as text
    genotype: str | None  # space of the genotypes that are searched too
    metric: str
    sampler: Sampler
    pruner: Pruner
    confirm: Confirm | None
    seed: int
    defaults: Values | None  # values of the configuration that is not tuned; None where the space does not hold it
    fingerprint: str = ""

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better."""
        return higher_is_better(self.metric)

    @property
    def stage(self) -> str:
        """Folder of the run inside that of its trial."""
        return EVALUATION if self.command == "evaluate" else "search"

    def options(self, values: Values) -> Options:
        """The options that some values stand for; the genotype is none of them."""
        found = {name: one.option(values[name]) for name, one in self.dimensions.items() if name in values}
        return {name: value for name, value in found.items() if not name.startswith(f"{PREFIX}.")}

    def arguments(self, values: Values, chosen: bool = False) -> list[str]:
        """Return options of ``robustnas fit`` for some values: of a trial, or of the training with the ``chosen`` ones.

        An evaluation in a trial trains on no image that it is validated on; afterwards its own recipe counts.
        """
        held_out = {SELECTION: False} if self.command == "evaluate" and not chosen else {}
        words = arguments_of(Recipe(self.recipe.configs, {**self.recipe.options, **held_out, **self.options(values)}))
        return words[1:] if chosen else words  # a trial shows no progress of its own

    def sections(self, values: Values, chosen: bool = False) -> dict[str, Any]:
        """The complete configuration for some values."""
        sections = configuration(self.arguments(values, chosen))
        if self.command != "evaluate":
            return sections
        searched = self.genotype is not None and any(name.startswith(f"{PREFIX}.") for name in values)
        found = str(genotype_of(find_space(str(self.genotype)), values)) if searched else self.network
        return training_of(sections, found)


def planned(tuning: Tuning, run: str | None = None) -> Plan:
    """The plan of a tuning, for a ``run`` other than its file names; what cannot run is refused in a sentence."""
    run = run or tuning.run
    if tuning.command == "fit" and run is not None:
        raise ValueError(f"Expected no RUN with `command: fit`, since a search has its own genotype, but got {run}.")
    recipe, network = _evaluation(tuning, run) if tuning.command == "evaluate" else (tuning.recipe, "")
    searched = {} if tuning.genotype is None else genotype_dimensions(find_space(tuning.genotype))
    plan = Plan(
        tuning.name, tuning.command, recipe, {**tuning.space, **searched}, network, tuning.genotype,
        tuning.metric or "", tuning.sampler, tuning.pruner, tuning.confirm, tuning.seed, None,
    )  # fmt: skip
    base = configuration(arguments_of(recipe))
    _check_base(tuning, base)
    base = plan.sections({}, chosen=True)
    plan = replace(plan, defaults=_defaults(plan, base))
    plan = replace(plan, metric=_checked(plan, tuning.metric))
    return replace(plan, fingerprint=_fingerprint(plan, base))


def _evaluation(tuning: Tuning, run: str | None) -> tuple[Recipe, str]:
    """The recipe of an evaluation, for the search in a folder on its data, and the genotype that it trains."""
    if run is None and tuning.genotype is None:
        raise ValueError(
            "Expected RUN, or `run` in the file, to be the search or the genotype that is evaluated, but got none."
        )
    if run is None:
        space = find_space(str(tuning.genotype))
        genotype = random_genotype(space, random.Random(tuning.seed))
    else:
        genotype = read_genotype(run, name="RUN")
        space = find_space(tuning.genotype or genotype.space)
    options: Options = {f"{NETWORK}.genotype": "genotype", f"{NETWORK}.space": space.name}
    folder = None if run is None or is_genotype_text(run) else expand(run, "RUN")
    if folder is not None and (folder / "config.yaml").is_file():
        options |= {"data": data_of(folder)}
        named = section_of(folder, "model")["init_args"].get("space")
        options |= {f"{NETWORK}.space": str(named)} if named and tuning.genotype is None else {}
    configs = tuning.recipe.configs or (recipe_of(space.name),)
    return Recipe(configs, {**options, **tuning.recipe.options}), str(genotype)


def _check_base(tuning: Tuning, base: Mapping[str, Any]) -> None:
    evaluates = "architecture" in base["model"].get("init_args", {})
    if evaluates != (tuning.command == "evaluate"):
        kind = "an evaluation" if tuning.command == "evaluate" else "a search"
        raise ValueError(
            f"Expected the model of `command: {tuning.command}` to be {kind}, but got {base['model']['class_path']}."
        )
    if base["trainer"].get("limit_val_batches") == 0:
        raise ValueError("Expected `trainer.limit_val_batches` above 0, since the validation chooses, but got 0.")
    trainer = SimpleNamespace(**{"devices": 1, "num_nodes": 1, "accelerator": "auto", **base["trainer"]})
    if trainer.devices not in ("auto", -1) and count_processes(trainer) > 1:
        raise ValueError(
            f"Expected `trainer.devices` to be 1, since trials run beside each other, but got {trainer.devices}."
        )


def _defaults(plan: Plan, base: Mapping[str, Any]) -> dict[str, Value] | None:
    """The values of the configuration that is not tuned, unless the space does not hold it."""
    found: dict[str, Value] = {}
    try:
        if plan.genotype is not None:
            network = base["model"]["init_args"]["architecture"]["init_args"]
            found |= values_of(find_space(plan.genotype), read_genotype(network["genotype"]))
        for name, dimension in plan.dimensions.items():
            if name not in found:
                found[name] = dimension.find(_at(base, name))
    except (KeyError, TypeError, ValueError):
        return None
    return found


def _at(sections: Any, name: str) -> Any:
    """The value of an option in a configuration; ``init_args`` may be left out."""
    for part in name.split("."):
        inner = sections.get("init_args") or {} if part not in sections else sections
        sections = inner[part]
    return sections


def _checked(plan: Plan, metric: str | None) -> str:
    """The metric, after the ends of the space and every choice were built, with a loader of each stream."""
    examples = {name: dimension.examples() for name, dimension in plan.dimensions.items()}
    own = [len(values) for name, values in examples.items() if not name.startswith(f"{PREFIX}.")]
    count = max(2, *own)
    names: set[str] = set()
    for number in range(count):
        values = {name: values[min(number, len(values) - 1)] for name, values in examples.items()}
        sections = plan.sections(values)
        built = lightning_cli.main(sections, stop_after="instantiation")
        names |= {VAL_LOSS.name, *map(str, built.model.val_metrics)}
        for stream, roles in built.model.training_streams.items():
            built.datamodule.loader(*roles, training=True, stream=stream)  # refuses a batch of more than the samples
        if sections["trainer"].get("max_epochs") == 0:
            raise ValueError("Expected `trainer.max_epochs` to be at least 1, but got 0.")
    return _metric(metric, names)


def _metric(metric: str | None, measured: set[str]) -> str:
    if metric is None:
        return next((name for name in scores("val") if name in measured), VAL_LOSS.name)
    known = sorted({*measured, *(name for name in METRICS if not name.startswith(("val/", "test/", "truth", "arch")))})
    wrong = metric not in measured if metric.startswith("val/") else metric not in METRICS
    if measured and wrong:
        shown = ", ".join(sorted(measured) if metric.startswith("val/") else known)
        raise ValueError(f"Expected `metric` to be one that these runs log: {shown}, but got {metric!r}.")
    return metric


def _fingerprint(plan: Plan, base: Mapping[str, Any]) -> str:
    dimensions = {name: [type(one).__name__, asdict(one)] for name, one in plan.dimensions.items()}  # type: ignore[call-overload]
    held = {
        "version": __version__, "base": base, "command": plan.command, "dimensions": dimensions,
        "genotype": plan.genotype, "metric": plan.metric, "sampler": asdict(plan.sampler),
        "pruner": asdict(plan.pruner), "seed": plan.seed,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(held, sort_keys=True, default=str).encode()).hexdigest()[:16]
