"""Checks of ``robustnas doctor`` for kernels of torch that are known to be wrong or slow on some CPUs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from robustnas.runtime.environment import versions

PATIENCE = 120  # seconds; the fault may end in a hang

# Of torch alone. The kernels for AVX2 fail on the smaller images, those for AVX-512 on the larger ones.
REPRODUCER = """
import contextlib, torch
with contextlib.suppress(ImportError):
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
torch.set_num_threads(1)
torch.manual_seed(0)
def gradient(slope, images, weight):
    rest = None, [2, 2], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    return torch.ops.aten.convolution_backward(slope, images, weight, *rest)[1]
for size in 6 * (16, 64):
    images = torch.randn(32, 4, size, size).contiguous(memory_format=torch.channels_last)
    slope = torch.randn(32, 4, size // 2, size // 2).contiguous(memory_format=torch.channels_last)
    given = slope, images, torch.randn(4, 4, 1, 1)
    error = (gradient(*given) - gradient(*(tensor.double() for tensor in given))).abs().max()
    if not error < 0.1:
        raise SystemExit(f"off by {error:.1e}")
print("right")
"""


def check_pointwise(folder: Path) -> str:
    """Whether torch damages memory in the strided 1 x 1 convolution that this library keeps from it."""
    command = [sys.executable, "-c", REPRODUCER]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _faulty(f"did not end within {PATIENCE} s")
    if done.returncode == 0 and done.stdout.strip() == "right":
        return "no fault found in its float32 weight gradient"
    if done.returncode < 0:
        return _faulty(f"was ended by {signal.Signals(-done.returncode).name}")
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    if last.startswith("off by"):
        return _faulty(f"got a gradient that is {last}")
    if done.returncode != 1:  # that of an exception
        return _faulty(f"ended with status {done.returncode}")
    raise ValueError(f"Expected the reproducer to run, but got: {last}")


def _faulty(how: str) -> str:
    return (
        f"torch {versions()['torch']} damages memory in it on this CPU (the child process {how}). robustnas never asks "
        "for one; in code of your own, take every other pixel first: docs/guides/precision.md"
    )


def check_bf16(folder: Path) -> str:
    """How fast ``bf16-mixed`` is here, and whether the CPU has instructions for it."""
    from robustnas.training.bf16 import native_bf16, probe_bf16

    native, found = native_bf16(), probe_bf16()
    has = {True: "this CPU has", False: "this CPU has no", None: "not known whether this CPU has"}[native]
    return f"{has} instructions for bfloat16; bf16-mixed takes {found}"
