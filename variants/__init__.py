"""One final class per paper: DARTS and its robust variants, each a choice of parts."""

from robustnas.variants.beta_darts import BetaDARTS
from robustnas.variants.da2s import DA2S
from robustnas.variants.darts import DARTS
from robustnas.variants.darts_pt import DARTSPT
from robustnas.variants.gaea import GAEA
from robustnas.variants.gdas import GDAS
from robustnas.variants.pc_darts import PCDARTS
from robustnas.variants.proxyless_nas import ProxylessNAS
from robustnas.variants.random_sharing import RandomSharing
from robustnas.variants.robust_darts import RobustDARTS
from robustnas.variants.smooth_darts import SmoothDARTS
from robustnas.variants.sparsemax_darts import SparsemaxDARTS

__all__ = [
    "DA2S", "DARTS", "DARTSPT", "GAEA", "GDAS", "PCDARTS", "BetaDARTS", "ProxylessNAS", "RandomSharing", "RobustDARTS",
    "SmoothDARTS", "SparsemaxDARTS",
]  # fmt: skip
