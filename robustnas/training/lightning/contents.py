"""Whether a checkpoint holds everything from which a run continues, in the right form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

PARTS = {  # what the trainer reads without asking whether it is there
    "callbacks": dict, "epoch": int, "global_step": int, "loops": dict, "lr_schedulers": list,
    "optimizer_states": list, "pytorch-lightning_version": str, "state_dict": dict,
}  # fmt: skip
VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){1,5}((a|b|rc|\.post|\.dev)\d{1,9})*(\+[a-z0-9.]{1,50})?", re.ASCII)
LEARNT = ("alphas.", "betas.", "network.", "supernet.")


def check_contents(checkpoint: Any, name: str, loops: Mapping[str, Any]) -> None:
    """Refuse a checkpoint on which the trainer would fail, or which it would restore in part."""
    for part, kind in PARTS.items():
        found = checkpoint.get(part) if isinstance(checkpoint, dict) else None
        if not isinstance(found, kind) or isinstance(found, bool):
            got = "none" if found is None else _a(type(found))
            raise ValueError(f"Expected {name} to hold `{part}`, {_a(kind)}, but got {got}.")
    if not VERSION.fullmatch(version := checkpoint["pytorch-lightning_version"]):
        raise ValueError(f"Expected {name} to hold a version in `pytorch-lightning_version`, but got {version[:50]!r}.")
    if not isinstance(checkpoint["loops"].get("fit_loop"), dict):
        raise ValueError(f"Expected {name} to hold the progress of a training in `loops`, but got none.")
    for loop, form in loops.items():
        _check_counts(checkpoint["loops"].get(loop), form, f"loops.{loop}", name)
    _check_numbers(checkpoint, name)
    for key, state in checkpoint["callbacks"].items():
        if not isinstance(state, dict):
            raise ValueError(f"Expected {name} to hold a dict for {key} in `callbacks`, but got {_shown(state)}.")
    state, states = checkpoint["state_dict"], checkpoint["optimizer_states"]
    needed = 2 if any(str(key).startswith("alphas.") for key in state) else 1
    if len(states) != needed:
        raise ValueError(f"Expected {name} to hold the states of {needed} optimisers, but got {len(states)}.")
    for schedule in checkpoint["lr_schedulers"]:
        if not isinstance(schedule, dict) or not _is_count(schedule.get("last_epoch")):
            raise ValueError(
                f"Expected {name} to hold schedules with their epoch in `lr_schedulers`, but got {_shown(schedule)}."
            )
    check_finite(state, name)


def check_optimizers(states: Sequence[Any], optimizers: Sequence[Any], name: str) -> None:
    """Refuse states of optimisers that fit no such optimiser."""
    for held, optimizer in zip(states, optimizers, strict=False):  # a user's own module may name none
        _check_groups(held, optimizer.state_dict(), name)


def _check_counts(found: Any, form: Any, where: str, name: str) -> None:
    """Refuse what has not the counts that a loop has, in the same places."""
    if isinstance(form, Mapping):
        if not isinstance(found, Mapping):
            raise ValueError(f"Expected {name} to hold a dict in `{where}`, but got {_shown(found)}.")
        for key, inner in form.items():
            _check_counts(found.get(key), inner, f"{where}.{key}", name)
    elif isinstance(form, bool):
        if not isinstance(found, bool):
            raise ValueError(f"Expected {name} to hold yes or no in `{where}`, but got {_shown(found)}.")
    elif isinstance(form, int) and not _is_count(found):
        raise ValueError(f"Expected {name} to hold a count in `{where}`, but got {_shown(found)}.")


def _check_numbers(checkpoint: Mapping[str, Any], name: str) -> None:
    """Refuse numbers of the epoch and the step that are not those that the loops have counted."""
    loop = checkpoint["loops"]["fit_loop"]
    counted = {"epoch": loop["epoch_progress"]["current"]["completed"]}
    steps = [
        loop["epoch_loop.manual_optimization.optim_step_progress"]["total"]["completed"],
        loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"],
    ]
    counted["global_step"] = max(steps)
    for part, count in counted.items():
        if checkpoint[part] != count:
            raise ValueError(
                f"Expected {name} to hold `{part}` {count}, as its loops count, but got {checkpoint[part]}."
            )


def _check_groups(found: Any, form: Mapping[str, Any], name: str) -> None:
    """Refuse the state of an optimiser that has other groups of parameters, or options of another type."""
    groups = found.get("param_groups") if isinstance(found, dict) else None
    if not isinstance(groups, list) or len(groups) != len(form["param_groups"]):
        raise ValueError(f"Expected {name} to hold `param_groups` of its optimisers, but got {_shown(groups)}.")
    for group, options in zip(groups, form["param_groups"], strict=True):
        for key, value in options.items():
            if not isinstance(group, dict) or not _alike(group.get(key), value):
                got = group.get(key) if isinstance(group, dict) else group
                raise ValueError(f"Expected {name} to hold {key} in `param_groups`, but got {_shown(got)}.")
        if len(group["params"]) != len(options["params"]):
            wanted, got = len(options["params"]), len(group["params"])
            raise ValueError(f"Expected {name} to hold {wanted} params in `param_groups`, but got {got}.")
    if not isinstance(found.get("state"), dict) or not all(isinstance(held, dict) for held in found["state"].values()):
        raise ValueError(f"Expected {name} to hold `state` of its optimisers, but got {_shown(found.get('state'))}.")


def _alike(found: Any, form: Any) -> bool:
    """Whether an option of an optimiser is of the type that it has, and finite where it is a number."""
    if isinstance(form, bool) or form is None:
        return found is None or isinstance(found, bool)
    if isinstance(form, (int, float)):
        return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    return isinstance(found, type(form)) or (isinstance(form, tuple) and isinstance(found, list))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value!r:.60}" if isinstance(value, (bool, int, float, str)) else _a(type(value))


def _a(kind: type) -> str:
    return f"an {kind.__name__}" if kind is int else f"a {kind.__name__}"


def check_finite(state: Mapping[str, Any], name: str) -> None:
    """Refuse weights and α that are infinite or undefined."""
    for key, value in state.items():
        if str(key).startswith(LEARNT) and isinstance(value, Tensor) and not value.isfinite().all():
            raise ValueError(f"Expected {name} to hold finite numbers, but got others in {key}.")
