"""The rules by which a run is sized: simple ones, all of them here, and as a table in docs/guides/recipes.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BUDGET = 1800.0  # seconds without `--budget`: long enough for 1,000 images of 64 x 64 pixels on two cores
MARGIN = 0.9  # of the budget is planned for: a measured step differs from later ones
MIN_STEPS = 6  # of an epoch: larger batches learn more in the same time, benchmarks/results/few_images.md
MIN_BATCH = 8  # samples, below which BatchNorm's statistics are noise
MIN_MAP = 8  # pixels that a side of the last feature map has in a deep network
LARGE = 128  # pixels of a side from which the stem divides the resolution first
FEW = 5000  # images for the weights, below which a search is short
SHORT = 15  # epochs of such a search,
SHORT_STEPS = 160  # or as many as have these steps
REACH = 19500 * 3e-4  # steps of α times their size in the DARTS paper: 50 epochs of 390 steps
MAX_ARCH_LR = 0.05  # the fastest α that was tried here


@dataclass(frozen=True)
class Size:
    """Channels and depth of a network; ``None`` for the depth of the configuration."""

    channels: int
    depth: int | None = None


@dataclass(frozen=True)
class Rules:
    """What is chosen from, for one kind of run.

    Args:
        sizes: Sizes by skeleton, from the smallest to that of the papers.
        other: Sizes for skeletons that are not named.
        small: By skeleton, the largest depth for images whose last feature map would be below ``MIN_MAP``.
        fewest: Epochs below which nothing is trained.
        enough: Epochs that a size must get for a larger one to be tried.
    """

    sizes: Mapping[str, tuple[Size, ...]]
    other: tuple[Size, ...]
    small: Mapping[str, int]
    fewest: int
    enough: int


EVALUATION = Rules(
    {
        "darts": (Size(8, 5), Size(16, 8), Size(24, 11), Size(36, 14), Size(36, 20)),
        "darts_normal": (Size(8, 1), Size(16, 1), Size(26, 1)),
        "nasbench201": (Size(8, 1), Size(16, 1), Size(16, 3), Size(16, 5)),
    },
    (Size(8), Size(16), Size(32)),
    {"darts": 8, "nasbench201": 3},
    fewest=10,
    enough=50,
)
SEARCH = Rules(
    {
        "darts": (Size(8, 3), Size(8, 5), Size(16, 8)),
        "darts_normal": (Size(8, 1), Size(16, 1), Size(26, 1)),
        "nasbench201": (Size(8, 1), Size(8, 3), Size(16, 3), Size(16, 5)),
    },
    (Size(8), Size(16), Size(32)),
    {"darts": 8, "nasbench201": 3},
    fewest=5,
    enough=15,
)


def stem_for(skeleton: str, side: int) -> str | None:
    """The stem for images of a side; ``None`` where the skeleton has but one."""
    if skeleton not in ("darts", "darts_normal", "mobile"):
        return None
    return "imagenet" if side >= LARGE else "cifar"


def last_map(skeleton: str, side: int) -> int:
    """The side of the last feature map, after two reductions where the skeleton has such, and the stem."""
    stem = 8 if stem_for(skeleton, side) == "imagenet" else 1
    return side // (stem * (1 if skeleton == "darts_normal" else 4))


def sizes_for(rules: Rules, skeleton: str, side: int) -> Sequence[Size]:
    """The sizes to try, from small to large: with small images no deep ones."""
    sizes = rules.sizes.get(skeleton, rules.other)
    limit = rules.small.get(skeleton)
    if limit is None or last_map(skeleton, side) >= MIN_MAP:
        return sizes
    return [size for size in sizes if size.depth is None or size.depth <= limit]


def batch_for(samples: int, most: int) -> int:
    """``most``, or the largest power of two below with which an epoch of so many samples has ``MIN_STEPS`` steps."""
    if samples // most >= MIN_STEPS:
        return most
    batch = MIN_BATCH
    while 2 * batch <= most and samples // (2 * batch) >= MIN_STEPS:
        batch *= 2
    return max(1, min(batch, samples))


def lr_for(own: float, least: float, batch: int, most: int) -> float:
    """The step size of weights for a batch below that of the recipe, in proportion (arXiv:1706.02677)."""
    return float(f"{max(least, own * batch / most):.3g}") if batch < most else own


def short_epochs(steps: int) -> int:
    """The most epochs of a search on few images."""
    return max(SHORT, -(-SHORT_STEPS // max(steps, 1)))


def arch_lr_for(own: float, steps: float) -> float:
    """A step of α with which it can move as far in so many steps as in the DARTS paper: Adam's steps are alike."""
    return float(f"{max(own, min(MAX_ARCH_LR, REACH / max(steps, 1.0))):.2g}")
