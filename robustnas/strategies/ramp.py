"""How the weight of a penalty grows over the epochs."""

from __future__ import annotations

import math
from typing import Literal, get_args

from robustnas.strategies.step_context import StepContext

Ramp = Literal["constant", "linear", "log", "exp", "step"]


def check_ramp(**ramps: str) -> None:
    """Refuse names that are not those of ramps."""
    for name, ramp in ramps.items():
        if ramp not in get_args(Ramp):
            known = ", ".join(repr(one) for one in get_args(Ramp))
            raise ValueError(f"Expected `{name}` to be one of {known}, but got {ramp!r}.")


def ramped(weight: float, ramp: Ramp, context: StepContext, start: int = 0) -> float:
    r"""Return the weight in an epoch: zero before epoch ``start``, and ``weight`` in the last (arXiv:2007.03154).

    In the :math:`n`-th of the :math:`N` epochs from ``start`` on, the weight is multiplied by

    - ``constant``: 1,
    - ``linear``: :math:`n / N`,
    - ``log``: :math:`\log n / \log N`, which is high early,
    - ``exp``: :math:`2^{10 (n / N - 1)}`, which is high late,
    - ``step``: 0, 1/3, 2/3 and 1 in the four quarters.
    """
    done, total = context.epoch + 1 - start, context.epochs - start
    if done < 1:
        return 0.0
    if ramp == "constant":
        return weight
    if ramp == "linear":
        return weight * done / total
    share = min(done / total, 1.0)
    if ramp == "log":
        return weight * math.log(share * total) / math.log(total) if total > 1 else weight
    return weight * (2 ** (10 * (share - 1)) if ramp == "exp" else min(math.floor(4 * share), 3) / 3)
