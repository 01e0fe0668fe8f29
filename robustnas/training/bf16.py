"""bfloat16 on CPUs: fast where the processor has instructions for it, and slower than float32 everywhere else."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from robustnas.networks.bundle import Bundle, State
from robustnas.networks.operations import SepConv
from robustnas.runtime.environment import instructions

NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}  # instructions that multiply bfloat16 numbers
STEPS, ENOUGH = 3, 1.0  # steps of a probe, and seconds after which it takes no further one


@dataclass(frozen=True)
class Slowdown:
    """Seconds of the fastest step of a separable convolution, forward and backward."""

    channels: int
    float32: float
    bfloat16: float

    def __str__(self) -> str:
        return (
            f"{self.bfloat16 / self.float32:.1f} times as long as float32 (a separable convolution of {self.channels} "
            f"channels: {1000 * self.bfloat16:.1f} and {1000 * self.float32:.1f} ms, the fastest of {STEPS} steps)"
        )


def native_bf16() -> bool | None:
    """Whether this CPU multiplies bfloat16 numbers itself, and torch lets it; ``None`` where that is not known."""
    if (known := instructions()) is None:
        return None
    allowed = True
    with suppress(AttributeError, RuntimeError):  # torch's own name for it, which may change
        allowed = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return allowed and not NATIVE.isdisjoint(known)


def probe_bf16(channels: int = 16, size: int = 32) -> Slowdown:
    """Time a convolution in float32 and under ``bf16-mixed`` on one thread, in one to a few seconds."""
    channels, size = min(channels, 32), min(size, 32)
    with torch.random.fork_rng(devices=[]):
        operation = SepConv(Bundle(2, channels, channels), size=3)
        images = torch.randn(2, channels, size, size).contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine threads wait for one another, which is not what is asked
    try:
        return Slowdown(channels, _step(operation, images, torch.float32), _step(operation, images, torch.bfloat16))
    finally:
        torch.set_num_threads(threads)


def _step(operation: SepConv, images: torch.Tensor, precision: torch.dtype) -> float:
    entering, taken = images.to(precision).requires_grad_(), list[float]()
    while len(taken) < STEPS and sum(taken) < ENOUGH:
        start = time.process_time()  # not the clock of the wall, which other programs make run
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            output = operation(State(entering), (0, 1), None)
        torch.autograd.grad(output.float().sum(), [entering, *operation.parameters()])
        taken.append(time.process_time() - start)
    return max(min(taken), 1e-6)


def slow_bf16(module: Any) -> list[str]:
    """What is to be said of ``bf16-mixed`` before a run on this CPU, a sentence at most."""
    trainer = module.trainer
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if not on_cpu or trainer.precision != "bf16-mixed" or not trainer.is_global_zero or native_bf16():
        return []
    arguments = module.description["init_args"]
    chosen = arguments.get("architecture", {}).get("init_args", {})
    shape = getattr(trainer.datamodule, "image_shape", (3, 32, 32))
    found = probe_bf16(arguments.get("channels", chosen.get("channels", 16)), shape[-1])
    if found.bfloat16 <= found.float32:
        return []
    why = "where no instructions for bfloat16 are known of" if native_bf16() is None else "without its own bfloat16"
    return [f"`precision` bf16-mixed on this CPU, {why}, takes {found}; 32-true is faster."]
