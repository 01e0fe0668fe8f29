"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.darts import DARTS
from robustnas.variants.smooth_darts import SmoothDARTS

__all__ = ["DARTS", "SmoothDARTS"]
