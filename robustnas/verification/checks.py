"""All checks, in the order in which they run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from robustnas.verification.attempt import attempt
from robustnas.verification.bundles import check_bundles, check_paths
from robustnas.verification.finding import Finding, Outcome
from robustnas.verification.hypergradient import check_gradient, check_second_order
from robustnas.verification.partition import check_partition
from robustnas.verification.ranks import Ranks, check_ranks
from robustnas.verification.repeated import check_repeat, check_resume, check_test_set, check_trace
from robustnas.verification.roles import check_roles
from robustnas.verification.subject import Subject

CHECKS: dict[str, Callable[[Subject], Finding]] = {
    check.__name__.removeprefix("check_").replace("_", " "): check
    for check in (
        check_partition, check_gradient, check_second_order, check_bundles, check_paths, check_roles, check_repeat,
        check_resume, check_trace, check_test_set, check_ranks,
    )
}  # fmt: skip


def run_checks(subject: Subject, names: Sequence[str] = tuple(CHECKS)) -> Iterator[Outcome]:
    """Run checks, and yield the outcome of each as soon as it is known. None raises."""
    if "ranks" in names:
        with contextlib.suppress(OSError):
            subject.ranks = Ranks(subject)
    try:
        for name in names:
            yield Outcome(name, *attempt(partial(CHECKS[name], subject)))
    finally:
        if subject.ranks is not None:
            subject.ranks.stop()
