"""A process of the check `ranks`: ``FOLDER ACCELERATOR COUNT OPTIONS...``; it writes its state to FOLDER."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from robustnas.data import Batch
from robustnas.networks import Mixture
from robustnas.strategies import StepContext
from robustnas.verification.subject import final_state


def main(words: list[str]) -> int:
    """Run a small search together with the other processes."""
    from robustnas.verification.checks import describe

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder, accelerator, count = Path(words[0]), words[1], int(words[2])
    subject = describe(words[3:], folder)
    search = subject.reduced()
    mixtures: dict[str, Tensor] = {}
    error: list[float] = []
    mix, step = search.mixtures, search.training_step

    def recorded(context: StepContext) -> dict[str, Mixture]:
        found = mix(context)
        if context.phase != "evaluation":
            for kind, one in found.items():
                mixtures[f"step {search.global_step} {context.phase} {kind}"] = one.operations.detach().cpu().clone()
        return found

    def observed(batch: Mapping[str, Batch], batch_idx: int) -> None:
        if not error:
            own = torch.tensor([float(search.global_rank)], device=search.device)
            error.append(float(search.problem(batch).average([own])[0]) - (count - 1) / 2)
        step(batch, batch_idx)

    search.mixtures, search.training_step = recorded, observed  # type: ignore[method-assign, assignment]
    trainer = subject.trainer(
        f"run{count}", accelerator=accelerator, devices=count, strategy="flat" if count > 1 else "auto"
    )
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    if rank > 0:
        for parameter in search.parameters():
            parameter.data += 0.1  # must be overwritten by the state of rank 0
    trainer.fit(search, subject.slice(batch_size=4, processes=count))
    torch.save({"state": final_state(trainer), "mixtures": mixtures, "mean": error[0]}, folder / f"rank{rank}.pt")
    return 0
