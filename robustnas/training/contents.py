"""Whether a checkpoint holds all that a run goes on from, and in good order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

PARTS = {  # what the trainer reads without asking whether it is there
    "callbacks": dict,
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "lr_schedulers": list,
    "optimizer_states": list,
    "pytorch-lightning_version": str,
    "state_dict": dict,
}
VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){1,5}((a|b|rc|\.post|\.dev)\d{1,9})*(\+[a-z0-9.]{1,50})?", re.ASCII)
LEARNT = ("alphas.", "betas.", "network.", "supernet.")


def check_contents(checkpoint: Any, name: str) -> None:
    """Refuse a checkpoint that the trainer would stumble over, or half restore.

    Args:
        checkpoint: What the file holds.
        name: Name of the file, for messages.

    Raises:
        ValueError: If a part is missing or of another type, optimisers lack their states, or numbers are not finite.
    """
    for part, kind in PARTS.items():
        found = checkpoint.get(part) if isinstance(checkpoint, dict) else None
        if not isinstance(found, kind):
            got = "none" if found is None else f"a {type(found).__name__}"
            raise ValueError(f"Expected {name} to hold `{part}` to go on from, a {kind.__name__}, but got {got}.")
    if not VERSION.fullmatch(version := checkpoint["pytorch-lightning_version"]):
        raise ValueError(f"Expected {name} to hold a version in `pytorch-lightning_version`, but got {version[:50]!r}.")
    if not isinstance(checkpoint["loops"].get("fit_loop"), dict):
        raise ValueError(f"Expected {name} to hold the progress of a training in `loops`, but got none.")
    state, states = checkpoint["state_dict"], checkpoint["optimizer_states"]
    needed = 2 if any(str(key).startswith("alphas.") for key in state) else 1
    if len(states) != needed:
        raise ValueError(f"Expected {name} to hold the states of {needed} optimisers, but got {len(states)}.")
    check_finite(state, name)


def check_finite(state: Mapping[str, Any], name: str) -> None:
    """Refuse weights and α that are infinite or undefined.

    Args:
        state: Tensors by name.
        name: Name of the file, for messages.

    Raises:
        ValueError: If one is not finite.
    """
    for key, value in state.items():
        if str(key).startswith(LEARNT) and isinstance(value, Tensor) and not value.isfinite().all():
            raise ValueError(f"Expected {name} to hold finite numbers, but got others in {key}.")
