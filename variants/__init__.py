"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.darts import DARTS

__all__ = ["DARTS"]
