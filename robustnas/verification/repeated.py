"""Compare runs that must end in the same state: repeated, resumed, with diagnostics, with another test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from robustnas.diagnostics import Diagnostics, default_diagnostics
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import EPOCHS, SAVED, Subject, differing

UNEQUAL = "tensors that differ"


def check_repeat(subject: Subject) -> Finding:
    """Two runs of the same configuration are equal."""
    compared = f"two runs of {EPOCHS} epochs, {len(subject.straight)} tensors, {_where(subject)}"
    return Finding(compared, {UNEQUAL: Figure(len(subject.unstable))}, ", ".join(subject.unstable[:3]))


def check_resume(subject: Subject) -> Finding:
    """A run stopped inside an epoch and resumed ends in the same state as an uninterrupted one."""
    compared = f"stopped after step {SAVED}, inside an epoch, and resumed; {_where(subject)}"

    def resumed() -> Mapping[str, Tensor]:
        search = subject.reduced()
        for parameter in search.parameters():
            parameter.data += 1.0  # only the checkpoint holds the right values
        return subject.fit("resumed", search, checkpoint=subject.checkpoint)

    return _compare(subject, compared, resumed)


def check_trace(subject: Subject) -> Finding:
    """A run with all diagnostics ends in the same state as one without."""
    measures = default_diagnostics()
    suite = Diagnostics(measures, budget=None)
    compared = f"with and without {len(measures)} diagnostics, unlimited budget; {_where(subject)}"
    return _compare(subject, compared, lambda: subject.fit("diagnosed", callbacks=[suite]), extra=True)


def check_test_set(subject: Subject) -> Finding:
    """A run with noise in place of the test images ends in the same state."""
    compared = f"with noise in place of all test images; {_where(subject)}"
    if not len(subject.data.split.indices["test"]):
        return Finding(compared, says="The data have no test role.")
    return _compare(subject, compared, lambda: subject.fit("noisy_test", data=subject.slice(noisy_test=True)))


def _compare(subject: Subject, compared: str, run: Callable[[], Mapping[str, Tensor]], extra: bool = False) -> Finding:
    if subject.unstable:
        return Finding(compared, says="Two runs of the same configuration differ: see the check `repeat`.")
    different = differing(run(), subject.straight, extra)
    return Finding(compared, {UNEQUAL: Figure(len(different))}, ", ".join(different[:3]))


def _where(subject: Subject) -> str:
    return f"{subject.precision} on the {subject.accelerator.upper()}"
