"""The plan of a run: each choice with its reason, the estimated time and memory, and the files that it writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from robustnas.planning import rules
from robustnas.planning.choosing import Epochs, Measured, choose
from robustnas.planning.durations import counted, duration
from robustnas.planning.given import epochs_of, plain_name, value_at, with_values
from robustnas.planning.probe import Memory, Stage, probe
from robustnas.planning.rules import Size
from robustnas.planning.target import ARCH_LR, ARCH_START, BATCH, EPOCHS, LR, Target

GIVEN, CONFIGURED = "given", "of the configuration"
BUSY = 0.5  # share of a core below which other work made a measurement slow


@dataclass(frozen=True)
class Setting:
    """A value of a dotted option, and why it is that; it is chosen unless given or of the configuration."""

    option: str
    value: Any
    reason: str

    @property
    def chosen(self) -> bool:
        """Whether the option is to be set."""
        return self.reason not in (GIVEN, CONFIGURED)

    @property
    def name(self) -> str:
        """The last part of the option."""
        return self.option.rpartition(".")[2]


@dataclass(frozen=True)
class Plan:
    """What will be trained, and what that takes."""

    target: Target
    settings: tuple[Setting, ...]
    stage: Stage
    memory: Memory
    epochs: float
    budget: float | None

    @property
    def seconds(self) -> float:
        """Estimated seconds of the run."""
        return self.stage.seconds(self.epochs)

    @property
    def diagnosing(self) -> float:
        """Estimated seconds of the diagnostics that are always taken."""
        return self.stage.required(self.epochs)

    @property
    def words(self) -> list[str]:
        """The options of the command line that set what was chosen."""
        return [f"--{setting.option}={setting.value}" for setting in self.settings if setting.chosen]


@dataclass(frozen=True)
class Request:
    """What is asked of a plan.

    Args:
        sections: The configuration, with the options of the command line.
        given: Plain names of the options that the command line gives itself.
        budget: Seconds, or ``None`` where none was stated.
        most_batch: Largest batch, that of the recipe.
        folder: Folder for probes.
    """

    sections: Mapping[str, Any]
    given: Mapping[str, str]
    budget: float | None
    most_batch: int
    folder: Path

    def is_given(self, option: str) -> bool:
        """Whether the command line gives an option itself."""
        return plain_name(option) in self.given


Probe = Callable[[Mapping[str, Any], Path], Stage]


def _say_nothing(sentence: str) -> None:
    """Planning is silent unless it is told where to report."""


def plan_configured(request: Request, measure: Probe = probe, say: Callable[[str], None] = _say_nothing) -> Plan:
    """The plan of a configuration as it is."""
    say("Measuring the first steps ...")
    sections, target = request.sections, Target.of(request.sections)
    names = [BATCH, EPOCHS, *([ARCH_LR] if target.searches else [])]
    size = target.size_in(sections)
    shown = {**({} if size is None else target.values(size)), **{name: value_at(sections, name) for name in names}}
    settings = [Setting(name, value, _origin(request, name)) for name, value in shown.items()]
    stage = measure(sections, request.folder / "run")
    return Plan(target, tuple(settings), stage, Memory.now(), stage.epochs, None)


def plan_chosen(
    request: Request,
    measure: Probe = probe,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = _say_nothing,
) -> Plan:
    """Choose what is not given, by the size of the data and the budget.

    Args:
        request: What is asked for.
        measure: Takes the first steps of a configuration in a folder.
        clock: Seconds, from any beginning.
        say: Takes a sentence before each measurement, which may take minutes on a busy machine.

    Returns:
        The plan, whose words set what was chosen.

    Raises:
        ValueError: If nothing fits into the budget.
    """
    began, worked = clock(), time.process_time()
    target = Target.of(request.sections)
    batch = _batch(request, target)
    fixed = [*_stem(request, target), batch, *_lr(request, int(batch.value))]
    sections = with_values(request.sections, {one.option: one.value for one in fixed})
    budget = request.budget
    if budget is None and not request.is_given(EPOCHS):
        budget = rules.BUDGET

    def measured(size: Size | None) -> tuple[Stage, Memory]:
        depth = "" if size is None or size.depth is None else f" and depth {size.depth}"
        say(f"Measuring the first steps{'' if size is None else f' with {size.channels} channels{depth}'} ...")
        values = {} if size is None else target.values(size)
        name = "run" if size is None else f"{size.channels}-{size.depth}"
        return measure(with_values(sections, values), request.folder / name), Memory.now()

    epochs = _epochs(request, target, int(batch.value))
    try:
        found = choose(_sizes(request, target), measured, budget, epochs, lambda: clock() - began)
    except ValueError as error:
        share = (time.process_time() - worked) / max(clock() - began, 1e-9)
        if measure is not probe or torch.cuda.is_available() or share > BUSY:
            raise
        raise ValueError(f"{error} Other work left {share:.0%} of a core to this measurement.") from error
    settings = [
        *fixed,
        *_size_settings(request, target, found, epochs),
        _epochs_setting(request, found, epochs, budget),
    ]
    settings += _alpha_settings(request, target, found) if target.searches else []
    return Plan(target, tuple(settings), found.stage, found.memory, found.epochs, budget)


def _origin(request: Request, option: str) -> str:
    return GIVEN if request.is_given(option) else CONFIGURED


def _stem(request: Request, target: Target) -> list[Setting]:
    option = target.option("stem")
    stem = None if target.space is None else rules.stem_for(target.skeleton, target.side)
    if stem is None:
        return []
    if request.is_given(option):
        return [Setting(option, value_at(request.sections, option), GIVEN)]
    large = f"that of large images begins at {rules.LARGE}"
    return [Setting(option, stem, f"images of {target.side} pixels; {large}")]


def _batch(request: Request, target: Target) -> Setting:
    if request.is_given(BATCH):
        return Setting(BATCH, value_at(request.sections, BATCH), GIVEN)
    batch = rules.batch_for(target.samples, request.most_batch)
    steps = target.samples // batch
    role = " a role" if target.searches else ""
    reason = f"{steps} steps in an epoch of {target.samples:,} images{role}"
    if batch == request.most_batch:
        return Setting(BATCH, batch, f"{reason}; as in the recipe")
    least = f"the least batch is {rules.MIN_BATCH}" if batch <= rules.MIN_BATCH else f"at least {rules.MIN_STEPS}"
    return Setting(BATCH, batch, f"{reason}, {least}")


def _lr(request: Request, batch: int) -> list[Setting]:
    """The step size of the weights, where the batch is smaller than that of the recipe."""
    held = request.sections["model"]["init_args"]
    own, most = held.get("lr"), request.most_batch
    if request.is_given(LR):
        return [Setting(LR, own, GIVEN)]
    if own is None or batch >= most:
        return []
    reason = f"{own:g} for batches of {most} in the recipe; in proportion"
    return [Setting(LR, rules.lr_for(own, held.get("lr_min") or 0.0, batch, most), reason)]


def _epochs(request: Request, target: Target, batch: int) -> Epochs:
    most = epochs_of(request.sections)
    if request.is_given(EPOCHS):
        return Epochs(most, most, most)
    if target.searches and target.samples < rules.FEW:
        most = min(most, rules.short_epochs(target.samples // batch))
    return Epochs(target.rules.fewest, target.rules.enough, most)


def _sizes(request: Request, target: Target) -> list[Size | None]:
    """The sizes to try; what is given of one is the same in all."""
    own = target.size_in(request.sections)
    if own is None:
        return [None]
    tried: list[Size | None] = []
    for size in rules.sizes_for(target.rules, target.skeleton, target.side):
        if request.is_given(target.option("channels")):
            size = replace(size, channels=own.channels)
        if target.depth_name and request.is_given(target.option(target.depth_name)):
            size = replace(size, depth=own.depth)
        tried += [] if size in tried else [size]
    return tried


def _size_settings(request: Request, target: Target, found: Measured, epochs: Epochs) -> list[Setting]:
    sizes = _sizes(request, target)
    enough = min(epochs.enough, epochs.most)
    if found.size == sizes[-1]:
        reason = "the largest for images of this size"
    elif found.epochs < enough:
        reason = f"the smallest; a larger one gets fewer epochs still, and at least {enough} are wanted"
    else:
        reason = f"the largest that gets {counted(enough, 'epoch')}"
    step = f"{found.stage.step:.2g} s a step"
    return [
        Setting(option, value, GIVEN if request.is_given(option) else f"{reason}, {step}")
        for option, value in ({} if found.size is None else target.values(found.size)).items()
    ]


def _epochs_setting(request: Request, found: Measured, epochs: Epochs, budget: float | None) -> Setting:
    if request.is_given(EPOCHS):
        return Setting(EPOCHS, found.epochs, GIVEN)
    assert budget is not None
    configured = epochs_of(request.sections)
    if found.epochs < epochs.most:
        reason = f"as many as fit into {duration(budget)}"
    elif epochs.most < configured:
        few = f"a search on fewer than {rules.FEW:,} images a role"
        reason = f"{few} has at most {rules.SHORT}, or {rules.SHORT_STEPS} steps if that is more"
    else:
        reason = "as in the recipe"
    return Setting(EPOCHS, found.epochs, reason)


def _alpha_settings(request: Request, target: Target, found: Measured) -> list[Setting]:
    """The step of α, and the epoch from which on it moves, in proportion to that of the configuration."""
    held = request.sections["model"]["init_args"]
    start, configured = int(held.get("arch_start") or 0), epochs_of(request.sections)
    settings = []
    if start and not request.is_given(ARCH_START):
        start, before = start * found.epochs // configured, start
        settings = [Setting(ARCH_START, start, f"{before} of {configured} epochs in the configuration")]
    steps = (found.epochs - start) * found.stage.steps / int(held.get("arch_every") or 1)
    own = held.get("arch_lr")
    adam = str((held.get("arch_optimizer") or {}).get("class_path", "")).endswith(".Adam")
    if request.is_given(ARCH_LR) or not adam or own is None:
        return [*settings, Setting(ARCH_LR, own, _origin(request, ARCH_LR))]
    chosen = rules.arch_lr_for(own, steps)
    said = f"α takes {steps:,.0f} steps, 19,500 of 0.0003 in the DARTS paper; at most {rules.MAX_ARCH_LR}"
    return [*settings, Setting(ARCH_LR, chosen, said)]
