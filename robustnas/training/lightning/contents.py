"""Whether a checkpoint holds everything from which a run continues, in the right form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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
        fits = isinstance(found, kind) and not isinstance(found, bool)
        _require(fits, name, f"`{part}`, {_a(kind)}", "none" if found is None else _a(type(found)))
    version, trained = checkpoint["pytorch-lightning_version"], isinstance(checkpoint["loops"].get("fit_loop"), dict)
    _require(VERSION.fullmatch(version), name, "a version in `pytorch-lightning_version`", f"{version[:50]!r}")
    _require(trained, name, "the progress of a training in `loops`", "none")
    for loop, form in loops.items():
        _check_counts(checkpoint["loops"].get(loop), form, f"loops.{loop}", name)
    _check_numbers(checkpoint, name)
    for key, state in checkpoint["callbacks"].items():
        _require(isinstance(state, dict), name, f"a dict for {key} in `callbacks`", _shown(state))
    state, states = checkpoint["state_dict"], checkpoint["optimizer_states"]
    needed = 2 if any(str(key).startswith("alphas.") for key in state) else 1
    _require(len(states) == needed, name, f"the states of {needed} optimisers", len(states))
    for schedule in checkpoint["lr_schedulers"]:
        counts = isinstance(schedule, dict) and _is_count(schedule.get("last_epoch"))
        _require(counts, name, "schedules with their epoch in `lr_schedulers`", _shown(schedule))
    check_finite(state, name)


def _require(holds: object, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise ValueError(f"Expected {name} to hold {wanted}, but got {got}.")


def _check_counts(found: Any, form: Any, where: str, name: str) -> None:
    """Refuse what has not the counts that a loop has, in the same places."""
    if isinstance(form, Mapping):
        _require(isinstance(found, Mapping), name, f"a dict in `{where}`", _shown(found))
        for key, inner in form.items():
            _check_counts(found.get(key), inner, f"{where}.{key}", name)
    elif isinstance(form, bool):
        _require(isinstance(found, bool), name, f"yes or no in `{where}`", _shown(found))
    elif isinstance(form, int):
        _require(_is_count(found), name, f"a count in `{where}`", _shown(found))


def _check_numbers(checkpoint: Mapping[str, Any], name: str) -> None:
    """Refuse numbers of the epoch and the step that are not those that the loops have counted."""
    loop = checkpoint["loops"]["fit_loop"]
    manual = loop["epoch_loop.manual_optimization.optim_step_progress"]
    automatic = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    steps = max(manual["total"]["completed"], automatic["total"]["completed"])
    for part, count in (("epoch", loop["epoch_progress"]["current"]["completed"]), ("global_step", steps)):
        _require(checkpoint[part] == count, name, f"`{part}` {count}, as its loops count", checkpoint[part])


def check_optimizer(found: Any, form: Mapping[str, Any], name: str) -> None:
    """Refuse the state of an optimiser that has other groups of parameters, or options of another type."""
    groups = found.get("param_groups") if isinstance(found, dict) else None
    if not isinstance(groups, list) or len(groups) != len(form["param_groups"]):
        raise ValueError(f"Expected {name} to hold `param_groups` of its optimisers, but got {_shown(groups)}.")
    for group, options in zip(groups, form["param_groups"], strict=True):
        for key, value in options.items():
            own, got = isinstance(group, dict), group.get(key) if isinstance(group, dict) else group
            _require(own and _alike(got, value), name, f"{key} in `param_groups`", _shown(got))
        wanted, count = len(options["params"]), len(group["params"])
        _require(count == wanted, name, f"{wanted} params in `param_groups`", count)
    state = found.get("state")
    fits = isinstance(state, dict) and all(isinstance(held, dict) for held in state.values())
    _require(fits, name, "`state` of its optimisers", _shown(state))


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
        if str(key).startswith(LEARNT) and isinstance(value, Tensor):
            _require(value.isfinite().all(), name, "finite numbers", f"others in {key}")
