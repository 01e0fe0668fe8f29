"""Epochs at which the headline measures are taken, whatever they cost."""

from __future__ import annotations

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

from robustnas.training.lightning.loops import training_ends
from robustnas.training.search import SearchModule

POINTS = 8  # epochs at which a headline measure is taken, at least, unless more are asked for


def is_scheduled(epoch: int, epochs: int | None, points: int = POINTS) -> bool:
    """Return whether the headline measures are taken after ``epoch``.

    Of a known number of epochs these are as many as ``points``, evenly apart, with the first and the last one, or all
    where there are fewer. Where the number is open, the interval is 1 before epoch :math:`2 p` and doubles then, at
    :math:`2 p, 4 p` and so on: at any end there are :math:`p` multiples of the interval, or all epochs where fewer
    have run.

    Args:
        epoch: The epoch that ends, counted from 0.
        epochs: Epochs that the search is to take; ``None`` where steps or time may end it before.
        points: How many epochs :math:`p`, at least 2.

    Returns:
        Whether ``epoch`` is one of them; never after the last one of a known number.
    """
    if epochs is None:
        return epoch % (1 << (max(epoch, points) // points).bit_length() - 1) == 0
    if epochs <= points:
        return epoch < epochs
    return epoch in {round(k * (epochs - 1) / (points - 1)) for k in range(points)}


def planned_epochs(trainer: Trainer, search: SearchModule) -> int | None:
    """Epochs that the search is to take; ``None`` where steps or time may end it before."""
    timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    epochs = search.search_epochs
    return None if epochs < 1 or trainer.max_steps > 0 or timed else epochs


def part_done(trainer: Trainer, search: SearchModule) -> float | None:
    """Part of the run that is over: 1 at the last epoch of the search; ``None`` where the number of epochs is open."""
    if training_ends(trainer) or trainer.current_epoch + 1 == search.search_epochs:
        return 1.0
    if planned_epochs(trainer, search) is None:
        return None
    return (trainer.current_epoch + 1) / max(trainer.max_epochs or 1, 1)
