"""How well images with known classes are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SHOWN = 20  # classes of which each is listed; of more, the worst are


class Scores:
    """Counts of right predictions, batch by batch, of the images whose class is known."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.samples, self.right = (torch.zeros(len(classes), dtype=torch.int64) for _ in range(2))
        self.among_five = 0

    def count(self, probabilities: Tensor, targets: Sequence[int | None]) -> None:
        """Count a batch: probabilities ``[batch, classes]``, and classes where they are known."""
        known = [i for i, target in enumerate(targets) if target is not None]
        if not known:
            return
        wanted = torch.tensor([targets[i] for i in known])
        order = probabilities[known].argsort(dim=1, descending=True, stable=True)
        hits = order == wanted[:, None]
        self.samples += wanted.bincount(minlength=len(self.classes))
        self.right += wanted[hits[:, 0]].bincount(minlength=len(self.classes))
        self.among_five += int(hits[:, :5].any(dim=1).sum())

    def __bool__(self) -> bool:
        return bool(self.samples.sum())

    def metrics(self) -> dict[str, float]:
        """Top-1 accuracy and, of more than five classes, top-5."""
        total = int(self.samples.sum())
        found = {"top1": int(self.right.sum()) / total}
        return found | ({"top5": self.among_five / total} if len(self.classes) > 5 else {})

    def text(self) -> str:
        """The metrics, and the accuracy of each class: of the worst where they are many."""
        lines = [f"{name}: {share:.2%} of {int(self.samples.sum())} images" for name, share in self.metrics().items()]
        seen = [
            (right / count, f"  {name}: {right / count:.1%} of {count}")
            for name, right, count in zip(self.classes, self.right.tolist(), self.samples.tolist(), strict=True)
            if count
        ]
        if len(seen) > SHOWN:
            lines.append(f"accuracy of the worst {SHOWN} of {len(seen)} classes:")
            seen = sorted(seen)[:SHOWN]
        else:
            lines.append("accuracy of each class:")
        return "\n".join([*lines, *(line for _, line in seen)])
