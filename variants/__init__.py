"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.darts import DARTS
from robustnas.variants.darts_pt import DARTSPT
from robustnas.variants.fair_darts import FairDARTS
from robustnas.variants.gdas import GDAS
from robustnas.variants.pc_darts import PCDARTS
from robustnas.variants.proxyless_nas import ProxylessNAS
from robustnas.variants.random_sharing import RandomSharing
from robustnas.variants.robust_darts import RobustDARTS
from robustnas.variants.smooth_darts import SmoothDARTS
from robustnas.variants.snas import SNAS
from robustnas.variants.sparsemax_darts import SparsemaxDARTS

__all__ = [
    "DARTS", "DARTSPT", "GDAS", "PCDARTS", "SNAS", "FairDARTS", "ProxylessNAS", "RandomSharing", "RobustDARTS",
    "SmoothDARTS", "SparsemaxDARTS",
]  # fmt: skip
