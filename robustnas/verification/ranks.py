"""Compare the states of several processes, which start early, since loading takes seconds, and are read at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from robustnas.data import Batch
from robustnas.networks import Mixture
from robustnas.strategies import StepContext
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import Subject, describe, differing, final_state

TIMEOUT = 240  # seconds
START = (  # imports nothing from the current folder
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from robustnas.verification.ranks import main; sys.exit(main(sys.argv[1:]))"
)


class Ranks:
    """The processes of a search."""

    def __init__(self, subject: Subject) -> None:
        many = subject.accelerator == "gpu" and subject.devices > 1
        self.accelerator, self.count = ("gpu", subject.devices) if many else ("cpu", 2)
        self.folder = subject.folder / "ranks"
        self.folder.mkdir()
        self.deadline = time.monotonic() + TIMEOUT
        self.logs = [(self.folder / f"rank{rank}.txt").open("w+", encoding="utf-8") for rank in range(self.count)]
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = str(one.getsockname()[1])
        self.running = [self._start(rank, subject) for rank in range(self.count)]

    def _start(self, rank: int, subject: Subject) -> subprocess.Popen[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_"))}
        environment = {
            **ours, "LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.port,
            "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", START, str(self.folder), self.accelerator, str(self.count), *subject.words],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.logs[rank], stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def stop(self) -> None:
        """Kill the processes that still run."""
        for process in self.running:
            process.kill()
            process.wait()
        for log in self.logs:
            log.close()

    def finding(self, subject: Subject) -> Finding:
        """Compare the final states of the processes."""
        for rank, process in enumerate(self.running):
            try:
                process.wait(max(0.1, self.deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise ValueError(
                    f"Expected {self.count} processes to finish within {TIMEOUT} s, but rank {rank} did not."
                ) from None
            if process.returncode != 0:
                raise ValueError(f"Expected rank {rank} to succeed, but it failed: {self._last_line(rank)}")
        first, *others = (torch.load(self.folder / f"rank{rank}.pt", weights_only=True) for rank in range(self.count))
        mixtures, state = (
            [f"rank {k}: {name}" for k, one in enumerate(others, 1) for name in differing(one[what], first[what])]
            for what in ("mixtures", "state")
        )
        figures = {
            "mixtures that differ": Figure(len(mixtures)),
            "tensors that differ": Figure(len(state)),
            "error of a mean over ranks": Figure(max(abs(one["mean"]) for one in (first, *others))),
        }
        backend = "NCCL" if self.accelerator == "gpu" else "gloo on the CPU"
        compared = (
            f"{self.count} processes, {backend}, {len(first['state'])} tensors and {len(first['mixtures'])} mixtures"
        )
        return Finding(compared, figures, ", ".join([*sorted(mixtures), *state][:3]))

    def _last_line(self, rank: int) -> str:
        lines = (self.folder / f"rank{rank}.txt").read_text(encoding="utf-8").strip().splitlines()
        sentences = [line[line.index("Expected ") :] for line in lines if "Error: Expected " in line]
        return (sentences or lines or ["no output"])[-1]


def check_ranks(subject: Subject) -> Finding:
    """Start the processes, unless they run already, and compare their states."""
    ranks = subject.ranks or Ranks(subject)
    try:
        return ranks.finding(subject)
    finally:
        ranks.stop()
        subject.ranks = None


def main(words: list[str]) -> int:
    """One of the processes, ``FOLDER ACCELERATOR COUNT OPTIONS...``: run a small search, write its state to FOLDER."""
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
