"""Runs that must end alike: twice the same, stopped and resumed, watched and unwatched, with another test set."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from pytorch_lightning import Callback
from torch import Tensor

from robustnas.cli import lightning_cli
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import EPOCHS, SAVED, Subject, differing

UNEQUAL = "tensors that differ"


def check_repeat(subject: Subject) -> Finding:
    """Two runs of one configuration are equal."""
    compared = f"two runs of {EPOCHS} epochs, {len(subject.straight)} tensors, {_where(subject)}"
    return Finding(compared, {UNEQUAL: Figure(len(subject.unstable))}, ", ".join(subject.unstable[:3]))


def check_resume(subject: Subject) -> Finding:
    """A run that stops inside an epoch and goes on from its checkpoint ends as one that does not stop."""
    compared = f"stopped after step {SAVED}, inside an epoch, and resumed; {_where(subject)}"

    def resumed() -> Mapping[str, Tensor]:
        search = subject.reduced()
        for parameter in search.parameters():
            parameter.data += 1.0  # only the checkpoint can tell the right ones
        return subject.fit("resumed", search, checkpoint=subject.checkpoint)

    return _against_straight(subject, compared, resumed)


def check_trace(subject: Subject) -> Finding:
    """A run with all diagnostics ends as one without."""
    diagnostics = importlib.import_module(lightning_cli.NAMED[1])
    measures = diagnostics.default_diagnostics()
    watching: Callback = diagnostics.Diagnostics(measures, budget=None)
    compared = f"with and without {len(measures)} diagnostics, without a budget; {_where(subject)}"
    return _against_straight(subject, compared, lambda: subject.fit("watched", callbacks=[watching]), extra=True)


def check_test_set(subject: Subject) -> Finding:
    """A run whose test images are replaced by noise ends as one with the real ones."""
    compared = f"with noise in place of all test images; {_where(subject)}"
    if not len(subject.data.split.indices["test"]):
        return Finding(compared, says="The data have no test role.")
    return _against_straight(subject, compared, lambda: subject.fit("spoilt", data=subject.slice(spoilt=True)))


def _against_straight(
    subject: Subject, compared: str, run: Callable[[], Mapping[str, Tensor]], extra: bool = False
) -> Finding:
    if subject.unstable:
        return Finding(compared, says="Two equal runs differ already: see the check `repeat`.")
    different = differing(run(), subject.straight, extra)
    return Finding(compared, {UNEQUAL: Figure(len(different))}, ", ".join(different[:3]))


def _where(subject: Subject) -> str:
    return f"{subject.precision} on the {subject.accelerator.upper()}"
