"""bf16-mixed on a CPU without instructions for it is said before training, with a figure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from runs import digits, search, trainer
from tables import check_each

from robustnas.training import EvaluationModule, ResNet, bf16
from robustnas.training.bf16 import Slowdown, native_bf16, probe_bf16, slow_bf16

SLOW, FAST = Slowdown(4, 0.002, 0.025), Slowdown(4, 0.002, 0.001)
SAID = (
    "`precision` bf16-mixed on this CPU, without its own bfloat16, takes 12.5 times as long as float32 (a separable "
    "convolution of 4 channels: 25.0 and 2.0 ms, the fastest of 3 steps); 32-true is faster."
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes that were probed, on a CPU without bfloat16."""
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(bf16, "native_bf16", lambda: False)
    monkeypatch.setattr(bf16, "probe_bf16", lambda *given: (sizes.append(given), SLOW)[1])
    return sizes


def test_it_is_said_before_the_first_step(
    asked: list[tuple[int, int]], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, module = trainer(tmp_path, precision="bf16-mixed", fast_dev_run=True), search()
    seen: list[list[str]] = []
    step = module.training_step
    monkeypatch.setattr(module, "training_step", lambda *given: (seen.append(list(caplog.messages)), step(*given))[1])
    running.fit(module, digits())
    assert seen[0].count(SAID) == 1
    assert asked == [(4, 8)]


def test_an_evaluation_is_told_too_and_float32_is_not(
    asked: list[tuple[int, int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = EvaluationModule(ResNet(channels=3, blocks=1), image_channels=1)
    trainer(tmp_path, fast_dev_run=True).fit(module, digits())
    assert asked == []
    trainer(tmp_path, precision="bf16-mixed", fast_dev_run=True).fit(module, digits())
    assert asked == [(3, 8)]
    assert caplog.messages.count(SAID) == 1


def test_it_is_said_where_it_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(native: bool | None, found: Slowdown, device: str, zero: bool, count: int) -> None:
        monkeypatch.setattr(bf16, "native_bf16", lambda: native)
        monkeypatch.setattr(bf16, "probe_bf16", lambda *_: found)
        running = SimpleNamespace(
            strategy=SimpleNamespace(root_device=torch.device(device)), precision="bf16-mixed", is_global_zero=zero,
            datamodule=None,
        )  # fmt: skip
        module: Any = SimpleNamespace(trainer=running, description={"init_args": {"channels": 4}})
        assert len(slow_bf16(module)) == count

    check_each(
        [
            (False, SLOW, "cpu", True, 1),
            (None, SLOW, "cpu", True, 1),
            (True, SLOW, "cpu", True, 0),
            (False, FAST, "cpu", True, 0),
            (False, SLOW, "cuda", True, 0),
            (False, SLOW, "cpu", False, 0),
        ],
        lambda row: check(*row),
    )


def test_a_probe_leaves_no_trace_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    found = probe_bf16(4, 8)
    assert min(found.float32, found.bfloat16) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    now, forwards = [0.0], []
    monkeypatch.setattr(bf16, "time", SimpleNamespace(process_time=lambda: now[0]))
    forward = bf16.SepConv.forward

    def slow(*given: Any) -> Any:
        now[0] += 60.0
        forwards.append(1)
        return forward(*given)

    monkeypatch.setattr(bf16.SepConv, "forward", slow)
    assert probe_bf16(4, 8) == Slowdown(4, 60.0, 60.0)
    assert len(forwards) == 2  # one step of each where a step takes a minute


def test_what_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(known: list[str] | None, allowed: bool, native: bool | None) -> None:
        monkeypatch.setattr(bf16, "instructions", lambda: known)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: allowed)
        assert native_bf16() is native

    check_each(
        [
            (["avx2"], True, False),
            (["avx2", "avx512f"], True, False),
            (["avx512f", "avx512_bf16"], True, True),
            (["amx_bf16"], False, False),
            (["asimd", "bf16"], True, True),
            (None, True, None),
        ],
        lambda row: check(*row),
    )
