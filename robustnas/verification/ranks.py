"""Compare the states of several processes, which start early, since loading takes seconds, and are read at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import torch

from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import Subject, differing

TIMEOUT = 240  # seconds
START = (  # imports nothing from the current folder
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from robustnas.verification.worker import main; sys.exit(main(sys.argv[1:]))"
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
        self.running = [self._start(rank, subject) for rank in range(self.count)]

    def _start(self, rank: int, subject: Subject) -> subprocess.Popen[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_"))}
        environment = {
            **ours,
            "LOCAL_RANK": str(rank),
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": self._port(),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        return subprocess.Popen(
            [sys.executable, "-c", START, str(self.folder), self.accelerator, str(self.count), *subject.words],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.logs[rank], stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _port(self) -> str:
        if not hasattr(self, "_free"):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                self._free = str(one.getsockname()[1])
        return self._free

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
        mixtures = {
            f"rank {k}: {name}"
            for k, one in enumerate(others, 1)
            for name in differing(one["mixtures"], first["mixtures"])
        }
        state = [
            f"rank {k}: {name}" for k, one in enumerate(others, 1) for name in differing(one["state"], first["state"])
        ]
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
