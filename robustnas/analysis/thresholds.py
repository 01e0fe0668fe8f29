"""What a threshold of the verdict is, and what helps; entries of the registry of metrics hold the thresholds."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal, get_args

Weight = Literal["decides", "warns", "hints", "notes"]

State = Literal["healthy", "at risk", "undecided", "collapsed", "did not learn"]  # a later one goes before the others
STATES: tuple[State, ...] = get_args(State)

COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
POINTS: dict[Weight, int] = {"decides": 2, "warns": 2, "hints": 1, "notes": 0}
UNTOUCHED = 0.9999  # entropy of α above which a genotype is that of the initial values, and decides nothing
AT_RISK = 2  # points at which a search is at risk: one warning, or two hints


@dataclass(frozen=True)
class Threshold:
    """When a measure counts as a sign of collapse.

    It ``decides`` on the state; ``warns`` that the search is at risk; ``hints``, two of which warn; or ``notes``, which
    do not count. Where a random genotype has a share :math:`u` of what is measured, or chance gives :math:`u`, the
    threshold is at least :math:`u` for the chance ``floor``; for ``halfway``, :math:`(1 + u) / 2` where :math:`u`
    reaches the threshold.
    """

    name: str  #: name of the sign
    comparison: Literal[">", ">=", "<", "<="]  #: how the value compares where the sign is seen
    value: float  #: the threshold
    weight: Weight  #: what the sign counts for
    source: str  #: its paper; with ``ours`` we chose the number, and a paper beside it shows the effect
    words: str  #: what the sign means
    helps: tuple[str, ...]  #: names of :data:`REMEDIES`, the most direct first
    measure: str = ""  #: what is measured, in a few words; by default the title of the metric
    state: State = "collapsed"  #: what it decides, if it decides
    #: Measurements in a row that must show it. In a finished search the last one decides, and a hint needs no more than
    #: there are.
    hold: int = 1
    after: float = 0.0  #: share of the planned epochs from which on it is judged; a finished search is, at its end
    before: float = 1.0  #: share of the planned epochs until which it is judged
    latched: bool = False  #: whether it counts from the first time it is seen, not only while it lasts
    chance: Literal["", "floor", "halfway"] = ""  #: how it depends on what chance gives
    series: str = ""  #: name of the series, of the metric; filled in
    unit: str = ""  #: likewise

    def bound(self, chance: float) -> float:
        """The threshold where chance gives ``chance`` of what is measured."""
        if self.chance == "floor":
            return max(self.value, chance)
        return (1 + chance) / 2 if self.chance == "halfway" and chance >= self.value else self.value

    def passes(self, value: float, bound: float) -> bool:
        """Whether a value is a sign, with the threshold where it was measured."""
        return bool(COMPARE[self.comparison](value, bound))


@dataclass(frozen=True)
class Remedy:
    """What to try next time: a part or argument, how it is set, and the reason in a few words, with its source."""

    part: str
    setting: str
    why: str


# For each kind of sign the names of the remedies, the most direct first.
COLLAPSE = (
    "RandomPerturbation", "CurvatureRise", "weight_decay", "AdversarialPerturbation", "PartialChannels",
    "SkipDominance",
)  # fmt: skip
SHARP = ("RandomPerturbation", "CurvatureRise", "AdversarialPerturbation", "weight_decay")
DISCRETE = ("LargestDrop", "EntropyPenalty", "AdversarialPerturbation")
UNDECIDED = ("LargestDrop, one shot", "BestOfSampled", "arch_lr", "EntropyPenalty", "LargestDrop")
OVERFIT = ("weight_decay", "drop_path", "CurvatureRise")

REMEDIES: dict[str, Remedy] = {
    part: Remedy(part, setting, why)
    for part, setting, why in (
        ("RandomPerturbation", "--model.perturbation RandomPerturbation",
            "trains weights near α, as fast as DARTS: 2 of 10 seeds collapsed, of DARTS 9 (arXiv:2002.05283)"),
        ("CurvatureRise", "--model.stopping CurvatureRise",
            "stops where the loss grows sharp in α, returns to before (arXiv:1909.09656)"),
        ("weight_decay", "--model.weight_decay 0.0081",
            "less overfitting: skips won 9 of 9 recorded runs below, 0 of 12 from there on"),
        ("drop_path", "--model.drop_path 0.2",
            "less overfitting: skips won 3 of 3 recorded runs without, 0 of 12 with it"),
        ("AdversarialPerturbation", "--model.perturbation AdversarialPerturbation",
            "trains weights at the worst mixture near α: flatter loss (arXiv:2002.05283)"),
        ("PartialChannels", "--model.connection PartialChannels",
            "fewer channels in the mixture favour skips less (arXiv:1907.05737)"),
        ("SkipDominance", "--model.stopping SkipDominance",
            "stops at more than two skip connections (arXiv:1909.06035)"),
        ("LargestDrop", "--model.selection LargestDrop",
            "selects by the accuracy lost when an operation is removed, not by α (arXiv:2108.04392)"),
        ("LargestDrop, one shot", "robustnas select RUN --selection LargestDrop --selection.finetune 0",
            "selects from this search by what the removal of each operation costs, without training"),
        ("BestOfSampled", "--model.selection BestOfSampled --model.selection.source alpha",
            "selects the best of 100 architectures drawn by α; `robustnas select RUN --compare` tries it now"),
        ("EntropyPenalty", "--model.penalty EntropyPenalty",
            "drives α to decisions before it is discretised (arXiv:2007.03154)"),
        ("weaker_decay", "--model.weight_decay 0.0003",
            "recorded supernets reached 87 % up to 0.0081, 48 to 55 % at 0.2187"),
        ("lr", "--model.lr", "the weights must learn before α can: try 3 times more, or less"),
        ("arch_lr", "--model.arch_lr", "the step of α sets how fast it decides: try 3 times more, or less"),
        ("epochs", "--trainer.max_epochs", "more epochs give the weights and α time to settle"),
    )
}  # fmt: skip
