"""Every method in a search of 20 steps, on one process or on several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from runs import digits, fit, state
from torch import Tensor, nn

from robustnas import variants
from robustnas.networks import WideningChannels
from robustnas.networks.normalisation import BundleNorm
from robustnas.strategies import (
    Annealed,
    BestOfSampled,
    BinaryGates,
    CurvatureRise,
    Direct,
    DiscretisationLoss,
    Entmax,
    ExponentiatedGradient,
    FirstOrder,
    GradientAgreement,
    KeepStrongest,
    LargestDrop,
    LayerAlignment,
    RaiseDecay,
    RandomPerturbation,
    ShareThreshold,
    SkipDominance,
    Softmax,
    Stop,
    Strongest,
    Threshold,
    Unrolled,
    UnrolledByDifferences,
)


@dataclass(frozen=True)
class Second(CurvatureRise):
    """The second measurement is a rise, whatever was measured."""

    window: int = 1
    lag: int = 1
    start: int = 0
    interval: int = 1

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        return Stop(epochs[1], epochs[0]) if len(epochs) > 1 else None


ON_SIMPLEX: dict[str, Any] = {
    "relaxation": Direct(), "arch_optimizer": ExponentiatedGradient(), "arch_lr": 0.1, "arch_weight_decay": 0.0,
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "DARTS": ("DARTS", {}),
    "DARTS, second order": ("DARTS", {"gradient": Unrolled()}),
    "DARTS, by differences": ("DARTS", {"gradient": UnrolledByDifferences()}),
    "DARTS, pruned": ("DARTS", {"pruning": ShareThreshold(0.19, 0.21)}),
    "RobustDARTS": ("RobustDARTS", {"stopping": CurvatureRise(interval=1)}),
    "RobustDARTS, stopped": ("RobustDARTS", {"stopping": Second(), "max_epochs": 9}),
    "RobustDARTS, ada": ("RobustDARTS", {"stopping": RaiseDecay(Second(), max_weight_decay=3e-3)}),
    "DARTS, skips": ("DARTS", {"stopping": SkipDominance(max_skips=6)}),
    "SmoothDARTS": ("SmoothDARTS", {}),
    "SmoothDARTS, random": ("SmoothDARTS", {"perturbation": RandomPerturbation()}),
    "GDAS": ("GDAS", {}),
    "PCDARTS": ("PCDARTS", {"space": "S2", "layers": 3, "arch_start": 1}),
    "ProxylessNAS": ("ProxylessNAS", {"arch_start": 0, "arch_every": 1}),
    "ProxylessNAS, full": ("ProxylessNAS", {"arch_start": 0, "arch_every": 2, "relaxation": BinaryGates("full")}),
    "DARTSPT": ("DARTSPT", {"selection": LargestDrop("loss", finetune=1), "max_epochs": 2}),
    "SparsemaxDARTS": ("SparsemaxDARTS", {}),
    "DARTSMinus": ("DARTSMinus", {"space": "S2", "layers": 3}),
    "DrNAS": ("DrNAS", {}),
    "DrNAS, widening": (
        "DrNAS",
        {"connection": WideningChannels(4, ((1, 2), (3, 1))), "pruning": KeepStrongest(((2, 3),), rest=1)},
    ),
    "DrNAS, in stages": ("DrNAS", {"pruning": KeepStrongest(((2, 3), (3, 2)), rest=1)}),
    "LambdaDARTS": ("LambdaDARTS", {"weight_hook": LayerAlignment(0.5)}),
    "LambdaDARTS, by differences": (  # a small radius would divide rounding errors by it
        "LambdaDARTS",
        {"weight_hook": LayerAlignment(0.5, form="differences", radius=1.0)},
    ),
    "OLES": ("OLES", {"weight_hook": GradientAgreement(0.85, interval=4)}),
    "OLES, clean": ("OLES", {"weight_hook": GradientAgreement(0.1, interval=4, rule="clean")}),
    "RandomSharing": ("RandomSharing", {"selection": BestOfSampled(samples=5)}),
    "DARTS, entmax": ("DARTS", {"relaxation": Entmax()}),
    "DARTS, annealed": ("DARTS", {"relaxation": Annealed(Softmax(), 2.0, 0.2)}),
    "BetaDARTS": ("BetaDARTS", {}),
    "BetaDARTS, random": ("BetaDARTS", {"perturbation": RandomPerturbation()}),
    "DA2S": ("DA2S", {"space": "S2", "layers": 3, "arch_start": 1, "penalty": DiscretisationLoss(start=1)}),
    "GAEA": ("GAEA", {"arch_lr": 0.1}),
    "GAEA, pruned": ("GAEA", {"arch_lr": 0.3, "pruning": ShareThreshold(0.15, 0.25)}),
    "PCDARTS, GAEA": ("PCDARTS", {"space": "S2", "layers": 3, "arch_start": 1, **ON_SIMPLEX}),
    "DARTS, one shot": ("DARTS", {"selection": LargestDrop("loss", finetune=0)}),
    "SNAS": ("SNAS", {}),
    "SNAS, two levels": ("SNAS", {"gradient": FirstOrder()}),
    "FairDARTS": ("FairDARTS", {"selection": Strongest()}),
    "FairDARTS, fewer edges": (
        "FairDARTS",
        {"space": "DARTSFewerEdges", "layers": 3, "selection": Threshold(0.5001), "alpha_init": 1e-3},
    ),
    "DARTS, sampled by α": ("DARTS", {"selection": BestOfSampled(5, "loss", source="alpha")}),
}


def search(method: str, folder: Path, *, batch_size: int, devices: int, **options: Any) -> Any:
    """A search of 4 epochs of 5 steps, by default; a trainer that has finished."""
    name, own = METHODS[method]
    given = {"space": "NASBench201", "channels": 4, "image_channels": 1, "arch_lr": 0.02, **own, **options}
    epochs = given.pop("max_epochs", 4)
    if given["space"] == "NASBench201":
        given["cells"] = 1
    precision = given.pop("precision", "32-true")
    fractions = given.pop("fractions", (0.06, 0.04, 0.03))
    data = digits(batch_size=batch_size, eval_batch_size=10, fractions=fractions, augmentation=None)
    kind: Any = getattr(variants, name)
    strategy = "flat" if devices > 1 else "auto"
    folder.mkdir(parents=True, exist_ok=True)
    return fit(
        folder, kind(**given), data=data, devices=devices, strategy=strategy, max_epochs=epochs, precision=precision
    )


def numbers(running: Any) -> dict[str, Tensor]:
    """All numbers of a search, and what it decided by."""
    module, found = running.lightning_module, state(running)
    found |= {f"kept {kind}": kept for kind, kept in module.architecture.active_mask.items()}
    found["watched"] = torch.tensor(getattr(module.hooks.get("early_stopping"), "values", []), dtype=torch.float64)
    found["steps"] = torch.tensor(running.global_step)
    return found


def without_norms() -> None:
    """Let every BatchNorm double its input, weighed by the mixture: samples then do not see each other.

    Initial convolutions more than halve what passes through them.
    """

    def weighed(self: BundleNorm, x: Tensor, group: tuple[int, ...], scale: Tensor | None = None) -> Tensor:
        if scale is None:
            return 2 * x
        return 2 * x * scale.repeat_interleave(x.shape[1] // len(group))[:, None, None]

    BundleNorm.forward = weighed
    nn.BatchNorm2d.forward = lambda self, x: 2 * x
