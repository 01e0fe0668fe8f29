"""Whether all processes hold the same numbers, bit for bit."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from robustnas.data import ImageData
from robustnas.training.checkpointing import LastCheckpoint
from robustnas.training.processes import several

EVERY = 50  # steps between two comparisons of α: reading the answer makes a GPU wait
_STEP, _FIRST, _SECOND = (k - 2**64 for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class NotIdenticalError(ValueError):
    """Processes that must hold the same numbers do not."""


class Difference(NamedTuple):
    """A tensor that is not the same on all processes."""

    name: str
    ranks: tuple[int, ...]  # with other numbers than most processes, or else than the first


def fingerprint(tensor: Tensor) -> Tensor:
    """A number that changes with any one element, by any bit: the sum of SplitMix64's mixing of all, mod 2^64."""
    values = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    bits = values.contiguous().reshape(-1).view(_INTEGERS[values.element_size()]).to(torch.int64)
    mixed = bits + torch.arange(1, len(bits) + 1, device=bits.device) * _STEP
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    return (mixed ^ _shifted(mixed, 31)).sum()


def _shifted(numbers: Tensor, places: int) -> Tensor:
    """Shift to the right, filled with zeros: that of ``int64`` fills with the sign."""
    return (numbers >> places) & ((1 << (64 - places)) - 1)


def differences(named: Mapping[str, Tensor]) -> list[Difference]:
    """Return what differs between processes, bit for bit, by the order of names; every process must ask.

    As long as nothing differs this is one collective of four numbers, on the first device that is no CPU. Nothing waits
    for ever where processes hold tensors of other names, types or shapes: those differ then.
    """
    if not several():
        return []
    device = next((tensor.device for tensor in named.values() if not tensor.is_cpu), torch.device("cpu"))
    described = [f"{name} {tensor.dtype} {tuple(tensor.shape)}" for name, tensor in named.items()]
    prints = torch.stack([fingerprint(x).to(device) for x in named.values()] or [torch.tensor(0, device=device)])
    own = torch.stack([_of_text("\n".join(described)).to(device), fingerprint(prints)])
    largest = torch.cat([own, ~own])  # ~x is -x - 1, so that the largest ~x tells of the smallest x
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    if torch.equal(largest[:2], ~largest[2:]):
        return []
    table = dict(zip(named, zip(described, prints.tolist(), strict=False), strict=False))
    tables: list[dict[str, tuple[str, int]]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(tables, table)
    return _differing(tables)


def _differing(tables: list[dict[str, tuple[str, int]]]) -> list[Difference]:
    found = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [table.get(name) for table in tables]
        usual = Counter(values).most_common(1)[0][0]  # of equal counts the first met
        if ranks := tuple(rank for rank, value in enumerate(values) if value != usual):
            found.append(Difference(name, ranks))
    return found


def _of_text(text: str) -> Tensor:
    return torch.tensor(zlib.crc32(text.encode()))


def architecture(search: LightningModule) -> dict[str, Tensor]:
    """α and β by name."""
    return {name: parameter for name, parameter in search.named_parameters() if name.startswith(("alphas.", "betas."))}


def search_state(search: LightningModule, active_mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All numbers from which a search continues, by name."""
    named: dict[str, Tensor] = {**architecture(search), **dict(search.named_parameters())}
    named |= dict(search.named_buffers())
    named |= {f"active_mask.{kind}": mask for kind, mask in active_mask.items()}
    names = {id(parameter): name for name, parameter in search.named_parameters()}
    for optimizer in search.trainer.optimizers:
        label = type(optimizer).__name__
        for parameter, held in optimizer.state.items():
            found = {name: value for name, value in held.items() if isinstance(value, Tensor)}
            named |= {f"{label}.{names[id(parameter)]}.{name}": value for name, value in found.items()}
        for number, group in enumerate(optimizer.param_groups):
            rates = [float(group["lr"]), float(group["weight_decay"])]
            named[f"{label}.group {number}"] = torch.tensor(rates, dtype=torch.float64)
    return named


def check_replicas(search: LightningModule, active_mask: Mapping[str, Tensor]) -> None:
    """Stop all processes where α differs, every 50 steps, or, at the end of an epoch, anything that it goes on from."""
    last, step = search.trainer.is_last_batch, search.global_step
    if not several() or not (last or step % EVERY == 0):
        return
    if found := differences(search_state(search, active_mask) if last else architecture(search)):
        others = len(found) - 1
        more = f" and in {others} other tensor{'s' if others > 1 else ''}" if others else ""
        raise NotIdenticalError(
            f"Expected all processes to hold the same `{found[0].name}`, bit for bit, but got other numbers in it on "
            f"{_ranks(found[0].ranks)}{more} at step {step} (epoch {search.current_epoch}). The checkpoint of the "
            f"epoch before is still valid; machines that differ in processor, device or versions can be the reason."
        )


def check_start(trainer: Trainer, description: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse processes that were started with other options or other data than the first one."""
    if not several():
        return
    data: Any = getattr(trainer, "datamodule", None)
    told: dict[str, Any] = {"model": description, "max_epochs": trainer.max_epochs}
    if isinstance(data, ImageData):
        told["data"] = [data.split.hashes(), data.seed, data.batch_size, data.prepare.mean, data.prepare.std]
    told |= {"log_every_n_steps": trainer.log_every_n_steps}  # type: ignore[attr-defined]
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    told["checkpoint_every"] = [callback.every for callback in callbacks if isinstance(callback, LastCheckpoint)]
    told["diagnostics"] = [callback.describe() for callback in callbacks if hasattr(callback, "describe")]
    told |= {name: value for name, value in options.items() if name not in told}
    texts = {name: _of_text(json.dumps(value, default=str)) for name, value in told.items()}
    device = trainer.strategy.root_device
    if found := differences({name: text.to(device) for name, text in texts.items()}):
        raise NotIdenticalError(
            f"Expected all processes to be started with the same `{found[0].name}`, but got another on "
            f"{_ranks(found[0].ranks)}."
        )


def _ranks(ranks: tuple[int, ...]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
