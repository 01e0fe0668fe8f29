"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.darts import DARTS
from robustnas.variants.pc_darts import PCDARTS

__all__ = ["DARTS", "PCDARTS"]
