"""The comparison of processes sees every bit, names what differs, and stops all of them."""

from __future__ import annotations

from typing import Any

import pytest
import runs
import torch
import torch.distributed as dist
from methods import search
from ranks import in_two
from tables import check_each

from robustnas.training import replica_check
from robustnas.training.checkpointing import LastCheckpoint
from robustnas.training.replica_check import NotIdenticalError, differences, fingerprint

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.complex64]


def independent(tensor: torch.Tensor) -> int:
    """The same number by whole numbers of Python, element by element."""
    size, raw = tensor.element_size(), tensor.contiguous().view(-1).view(torch.uint8).tolist()
    total = 0
    for place in range(1, tensor.numel() + 1):
        z = int.from_bytes(bytes(raw[(place - 1) * size : place * size]), "little", signed=size > 1)
        z = (z + place * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        total += z ^ z >> 31
    return (total + 2**63) % 2**64 - 2**63


def test_a_fingerprint_is_its_formula() -> None:
    def check(dtype: torch.dtype) -> None:
        tensor = (torch.randn(3, 5) * 100).to(dtype)
        assert int(fingerprint(tensor)) == independent(tensor)
        assert int(fingerprint(tensor.t())) == independent(tensor.t().contiguous())

    check_each(TYPES[:-1], check)


def test_every_single_bit_changes_a_fingerprint() -> None:
    def check(dtype: torch.dtype) -> None:
        tensor = (torch.randn(7) * 100).to(dtype)
        raw = tensor.view(torch.uint8)
        seen = {int(fingerprint(tensor))}
        for place in range(len(raw)):
            for bit in range(8):
                raw[place] ^= 1 << bit
                seen.add(int(fingerprint(tensor)))
                raw[place] ^= 1 << bit
        assert len(seen) == 1 + 8 * len(raw)

    check_each(TYPES, check)


def test_order_and_signs_change_a_fingerprint() -> None:
    tensor = torch.arange(1.0, 9.0)
    signs = [torch.tensor([1.0 - 2.0 * (k >> i & 1) for i in range(8)]) for k in range(256)]
    assert len({int(fingerprint(tensor * sign)) for sign in signs}) == 256
    assert int(fingerprint(tensor)) != int(fingerprint(tensor.flip(0)))
    doubles = torch.randn(6, 6).double()
    flipped = [doubles * sign[:6, None] * sign[2:] for sign in signs]  # the highest bit, in many places at once
    assert len({int(fingerprint(one)) for one in flipped}) == len({tuple(one.flatten().tolist()) for one in flipped})
    assert int(fingerprint(torch.zeros(3))) != int(fingerprint(-torch.zeros(3)))
    assert int(fingerprint(torch.tensor([True, False]))) != int(fingerprint(torch.tensor([False, True])))


def test_what_differs_is_named_with_its_ranks(tmp_path) -> None:
    def found(rank: int) -> list[Any]:
        same = {"a": torch.ones(3, 2), "b": torch.arange(4), "nan": torch.tensor(float("nan")), "none": torch.ones(0)}
        bit = {**same, "b": same["b"] + (rank == 1)}
        half = {**same, "a": same["a"] + rank * 2**-23}
        shape = {**same, "a": torch.ones(2, 3) if rank == 2 else same["a"]}
        name = {**same, **({"own": torch.ones(1)} if rank == 0 else {})}
        kind = {**same, "b": same["b"].to(torch.int32 if rank == 2 else torch.int64)}
        return [[tuple(one) for one in differences(named)] for named in (same, bit, half, shape, name, kind, {})]

    expected = [[], [("b", (1,))], [("a", (1, 2))], [("a", (2,))], [("own", (0,))], [("b", (2,))], []]
    assert in_two(found, tmp_path, count=3) == [expected] * 3


def test_what_is_the_same_costs_one_collective(tmp_path) -> None:
    def sizes(rank: int) -> list[int]:
        found = []
        reduce = dist.all_reduce
        dist.all_reduce = lambda tensor, *args: (found.append(tensor.numel()), reduce(tensor, *args))[1]
        differences({str(k): torch.full((k,), float(k)) for k in range(100)})
        return found

    assert in_two(sizes, tmp_path) == [[4], [4]]


def test_one_process_compares_nothing() -> None:
    assert differences({"a": torch.ones(2)}) == []


def sabotaged(places: str, step: int, rank: int) -> Any:
    """A change of one bit, in each of some tensors, in a search of the second process after a step."""
    whole = replica_check.check_replicas

    def changed(module: Any, active_mask: Any) -> None:
        stem = module.supernet.body.stem
        weight_optimizer, arch_optimizer = module.trainer.optimizers
        if rank == 1 and module.global_step == step:
            tensors = {
                "alphas.cell": module.alphas["cell"],
                "supernet.body.stem.conv.weight": stem.conv.weight,
                "SGD.supernet.body.stem.conv.weight.momentum_buffer": weight_optimizer.state[stem.conv.weight][
                    "momentum_buffer"
                ],
                "Adam.alphas.cell.exp_avg": arch_optimizer.state[module.alphas["cell"]]["exp_avg"],
                "supernet.body.stem.bn.running_mean": stem.bn.running_mean,
                "active_mask.cell": module.architecture.active_mask["cell"],
            }
            for place in places.split():
                tensors[place].detach().view(-1)[:1].view(torch.uint8)[0] ^= 1
        whole(module, active_mask)

    return changed


PLACES = [  # what changes, after which step, how often α is compared, when it is seen
    ("alphas.cell", 3, 4, 4, ""), ("alphas.cell Adam.alphas.cell.exp_avg", 5, 50, 5, " and in 1 other tensor at"),
    ("supernet.body.stem.conv.weight", 5, 50, 5, ""), ("Adam.alphas.cell.exp_avg", 5, 5, 5, ""),
    ("SGD.supernet.body.stem.conv.weight.momentum_buffer", 5, 2, 5, ""),
    ("supernet.body.stem.bn.running_mean", 5, 50, 5, ""), ("active_mask.cell", 5, 50, 5, ""),
]  # fmt: skip


@pytest.mark.parametrize("places", [PLACES[:2], pytest.param(PLACES[2:], marks=pytest.mark.slow)], ids=["α", "others"])
def test_a_single_bit_stops_both_processes_with_its_name(tmp_path, places) -> None:
    def told(rank: int) -> list[str]:
        said = []
        for number, (place, step, every, *_) in enumerate(places):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(replica_check, "EVERY", every)
                patch.setattr("robustnas.training.search.check_replicas", sabotaged(place, step, rank))
                with pytest.raises(NotIdenticalError) as stopped:
                    search("DARTS", tmp_path / str(number), batch_size=8, devices=2)
            said.append(str(stopped.value))
        return said

    first, second = in_two(told, tmp_path / "ranks")
    assert first == second
    for sentence, (place, _, _, seen, more) in zip(first, places, strict=True):
        assert sentence.startswith(
            f"Expected all processes to hold the same `{place.split()[0]}`, bit for bit, but got other"
        )
        assert f"but got other numbers in it on rank 1{more}" in sentence
        assert f"at step {seen} (epoch 0)" in sentence


def test_processes_with_other_options_do_not_start(tmp_path) -> None:
    wrong = {"lr": (0.1, 0.2), "seed": (1, 2), "batch_size": (8, 9), "max_epochs": (1, 2)}

    def told(rank: int) -> list[str]:
        said = []
        for option, values in wrong.items():
            options = {"batch_size": 8, option: values[rank]}
            with pytest.raises(NotIdenticalError) as refused:
                search("DARTS", tmp_path / "run", devices=2, **options)
            said.append(str(refused.value))
        return said

    expected = [
        f"Expected all processes to be started with the same `{named}`, but got another on rank 1."
        for named in ("model", "model", "data", "max_epochs")
    ]
    assert in_two(told, tmp_path / "ranks") == [expected] * 2


def test_processes_that_would_wait_for_one_another_are_refused(tmp_path) -> None:
    """They save, log or measure together at other steps: that hangs."""

    def told(rank: int) -> list[str]:
        def refused(**options: Any) -> str:
            with pytest.raises(NotIdenticalError) as stopped:
                runs.fit(tmp_path / "run", runs.search(), devices=2, strategy="flat", **options)
            return str(stopped.value)

        every = refused(callbacks=[LastCheckpoint(tmp_path, 2 + rank)], enable_checkpointing=True)
        return [every, refused(log_every_n_steps=2 + rank), refused(limit_train_batches=2 + rank)]

    expected = [
        f"Expected all processes to be started with the same `{named}`, but got another on rank 1."
        for named in ("checkpoint_every", "log_every_n_steps", "limit_train_batches")
    ]
    assert in_two(told, tmp_path / "ranks") == [expected] * 2


def test_a_loss_that_is_not_finite_on_one_process_stops_both(tmp_path) -> None:
    def told(rank: int) -> str:
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1:
                from robustnas.training.search import SearchModule

                loss_of = SearchModule.loss_of
                patch.setattr(SearchModule, "loss_of", lambda self, *args: loss_of(self, *args) * float("nan"))
            with pytest.raises(ValueError, match="Expected a finite") as stopped:
                search("DARTS", tmp_path / "run", batch_size=8, devices=2)
        return str(stopped.value)

    first, second = in_two(told, tmp_path / "ranks")
    assert first == second
