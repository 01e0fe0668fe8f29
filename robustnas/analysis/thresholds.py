"""Every threshold of the verdict, with where it comes from, and what helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AT_RISK", "POINTS", "REMEDIES", "THRESHOLDS", "UNTOUCHED", "Remedy", "Threshold"]

Weight = Literal["decides", "warns", "hints", "notes"]

POINTS: dict[Weight, int] = {"decides": 2, "warns": 2, "hints": 1, "notes": 0}
UNTOUCHED = 0.9999  # entropy of α above which a genotype is that of the initial values, and decides nothing
AT_RISK = 2  # points at which a search is at risk: one warning, or two hints

ZELA, LIANG, MOVAHEDI, YU = "arXiv:1909.09656", "arXiv:1909.06035", "arXiv:2210.07998", "arXiv:1902.08142"
PT, OLES, DA2S, OWN = "arXiv:2108.04392", "OLES, NeurIPS 2023", "arXiv:2007.03154", "own"


@dataclass(frozen=True)
class Threshold:
    """When a measure counts as a sign of collapse.

    Args:
        name: Name of the sign.
        measure: What is measured, in a few words.
        series: Name of the series it is read from, see :mod:`robustnas.analysis.measures`.
        comparison: How the value compares where the sign is seen.
        value: The threshold.
        weight: ``decides`` that the search collapsed; ``warns`` that it is at risk; ``hints``, two of which warn;
            ``notes`` do not count.
        source: Paper of the threshold. With ``own`` the number is ours, and a paper beside it shows the effect.
        words: What the sign means.
        helps: Names of :data:`REMEDIES`, the most direct first.
        hold: Measurements in a row that must show it. A finished search is decided by its last one.
        after: Share of the planned epochs from which on it is judged; a finished search is always judged at its end.
        before: Share of the planned epochs until which it is judged.
        latched: Whether it counts from the first time it is seen, not only while it lasts.
        unit: ``edges`` where value and threshold are shares of the kept edges and shown as counts of them, ``%`` where
            they are shown as percentages.
        chance: What the threshold is where a random genotype has a share :math:`u` of it: at least :math:`u` for
            ``floor``; for ``halfway``, :math:`(1 + u) / 2` where :math:`u` is above the threshold.
    """

    name: str
    measure: str
    series: str
    comparison: Literal[">", ">=", "<", "<="]
    value: float
    weight: Weight
    source: str
    words: str
    helps: tuple[str, ...]
    hold: int = 1
    after: float = 0.0
    before: float = 1.0
    latched: bool = False
    unit: Literal["", "edges", "%"] = ""
    chance: Literal["", "floor", "halfway"] = ""

    def bound(self, chance: float) -> float:
        """The threshold in a space where a random genotype has a share ``chance`` of what is measured."""
        if self.chance == "floor":
            return max(self.value, chance)
        return (1 + chance) / 2 if self.chance == "halfway" and chance > self.value else self.value


_COLLAPSE = ("CurvatureRise", "weight_decay", "AdversarialPerturbation", "PartialChannels", "SkipDominance")
_SHARP = ("CurvatureRise", "AdversarialPerturbation", "weight_decay")
_ROUNDING = ("LargestDrop", "EntropyPenalty", "AdversarialPerturbation")

THRESHOLDS: tuple[Threshold, ...] = (
    Threshold(
        "skip_domination", "skip connections in the genotype", "genotype/skip_share", ">", 0.5, "decides",
        ZELA + ", own", "most of the kept edges are skip connections",
        _COLLAPSE, hold=3, after=0.2, unit="edges", chance="halfway",
    ),
    Threshold(
        "parameter_free_domination", "edges without parameters", "genotype/avoidable", ">", 0.5, "decides",
        ZELA + ", own", "most of the edges that could carry parameters do not",
        _COLLAPSE, hold=3, after=0.2, unit="%", chance="halfway",
    ),
    Threshold(
        "discrete_at_chance", "discrete accuracy / chance", "gap/over_chance", "<=", 1.2, "decides", ZELA + ", own",
        "the decided cell, cut out of the supernet, guesses", _ROUNDING, hold=2, after=0.8,
    ),
    Threshold(
        "curvature_rise", "growth of the curvature in α", "curvature/rise", ">", 1.3, "hints", ZELA,
        "the loss grows sharp in α: rounding will cost accuracy", _SHARP, latched=True,
    ),
    Threshold(
        "skip_rise", "skip connections gained in 10 epochs", "genotype/skip_rise", ">", 0.15, "hints", OWN,
        "skip connections are taking over", _COLLAPSE, hold=2, unit="edges",
    ),
    Threshold(
        "many_skips", "skip connections, bound of DARTS+", "genotype/skip_share", ">", 0.25, "hints", LIANG,
        "more than DARTS+ allows, and more than in a random cell", ("SkipDominance", *_COLLAPSE[:4]),
        hold=3, after=0.2, unit="edges", chance="floor",
    ),
    Threshold(
        "overfitting", "training minus validation accuracy", "generalisation/smooth", ">", 0.05, "hints",
        LIANG + ", own", "weights overfit, and operations without weights win",
        ("weight_decay", "drop_path", "CurvatureRise"), hold=3, after=0.2, unit="%",
    ),
    Threshold(
        "skip_mass", "mass of skips over a uniform start", "shares/skip_excess", ">", 0.25, "hints", OWN,
        "α moves to skip connections", _COLLAPSE, hold=3,
    ),
    Threshold(
        "gap", "share of accuracy lost by rounding", "gap/lost", ">", 0.5, "hints", DA2S + ", own",
        "the supernet does not predict the cell it is rounded to", _ROUNDING, hold=2, after=0.8, unit="%",
    ),
    Threshold(
        "gap_rise", "rounding gap gained in 10 epochs", "gap/rise", ">", 0.1, "hints", OWN,
        "rounding costs more and more", _ROUNDING, hold=2, after=0.5, unit="%",
    ),
    Threshold(
        "undecided", "entropy of α (uniform: 1)", "alpha/entropy", ">", 0.95, "hints", OWN,
        "α has hardly decided: rounding is near to chance", ("EntropyPenalty", "arch_lr", "LargestDrop"), after=0.8,
    ),
    Threshold(
        "saturated", "saturated edges, first half", "alpha/saturated", ">", 0.5, "hints", MOVAHEDI + ", own",
        "the softmax decided early, and passes little gradient since", ("arch_lr", "PartialChannels"), hold=2,
        before=0.5, latched=True, unit="%",
    ),
    Threshold(
        "alignment", "alignment of layers' gradients of α", "gradient/alignment", "<", 0.0, "hints", MOVAHEDI,
        "layers want different cells, and the last ones win", ("AdversarialPerturbation", "arch_lr"), hold=3,
    ),
    Threshold(
        "match", "match of training and validation gradient", "gradient/match", "<=", 0.0, "hints", OLES + ", own",
        "a step that helps training no longer helps validation", ("weight_decay", "drop_path", "CurvatureRise"), hold=3,
    ),
    Threshold(
        "ranking", "rank correlation, Kendall's τ", "ranking/tau", "<", 0.2, "hints", YU + ", own",
        "the supernet ranks cells hardly better than chance", ("LargestDrop", "epochs"), after=0.8,
    ),
    Threshold(
        "never_changed", "epochs without a change of genotype", "genotype/unchanged", ">=", 10, "hints", OWN,
        "the genotype is the one of the first epoch", ("arch_lr", "epochs"),
    ),
    Threshold(
        "unsettled", "choices that change per epoch", "genotype/churn", ">", 0.2, "hints", OWN,
        "the genotype still changes at the end: an accident of the last epoch", ("epochs", "EntropyPenalty"), after=0.8,
        unit="%",
    ),
    Threshold(
        "frozen", "largest step of α in an epoch", "alpha/moved", "<", 1e-6, "hints", OWN,
        "α does not move", ("arch_lr", "epochs"), hold=5, after=0.2,
    ),
    Threshold(
        "none_mass", "mass of `none`", "shares/most_none", ">", 0.5, "notes", OWN,
        "most of the mixture is switched off; shares of the rest are small", ("LargestDrop",),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Remedy:
    """What to try next time.

    Args:
        part: Name of the part or argument.
        setting: How it is set.
        why: Reason in a few words, with its source.
    """

    part: str
    setting: str
    why: str


REMEDIES: dict[str, Remedy] = {
    remedy.part: remedy
    for remedy in (
        Remedy(
            "CurvatureRise", "--model.stopping CurvatureRise",
            "stops where the loss grows sharp in α, returns to before (arXiv:1909.09656)",
        ),
        Remedy(
            "weight_decay", "--model.weight_decay 0.0081",
            "less overfitting: skips won 9 of 9 recorded runs below, 0 of 12 from there on",
        ),
        Remedy(
            "drop_path", "--model.drop_path 0.2",
            "less overfitting: skips won 3 of 3 recorded runs without, 0 of 12 with it",
        ),
        Remedy(
            "AdversarialPerturbation", "--model.perturbation AdversarialPerturbation",
            "trains weights at the worst mixture near α: flatter loss (arXiv:2002.05283)",
        ),
        Remedy(
            "PartialChannels", "--model.connection PartialChannels",
            "fewer channels in the mixture favour skips less (arXiv:1907.05737)",
        ),
        Remedy(
            "SkipDominance", "--model.stopping SkipDominance",
            "stops at more than two skip connections (arXiv:1909.06035)",
        ),
        Remedy(
            "LargestDrop", "--model.selection LargestDrop",
            "chooses by what removal costs, not by α (arXiv:2108.04392)",
        ),
        Remedy(
            "EntropyPenalty", "--model.penalty EntropyPenalty",
            "drives α to decisions before it is rounded (arXiv:2007.03154)",
        ),
        Remedy("arch_lr", "--model.arch_lr", "the step of α sets how fast it decides: try 3 times more, or less"),
        Remedy("epochs", "--trainer.max_epochs", "more epochs give α and the weights time to settle"),
    )
}  # fmt: skip
