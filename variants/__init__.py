"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.darts import DARTS
from robustnas.variants.robust_darts import RobustDARTS

__all__ = ["DARTS", "RobustDARTS"]
