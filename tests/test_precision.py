"""Full precision holds inside any surrounding settings, which are restored afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustnas.curvature import Hessian
from robustnas.runtime import precision
from robustnas.runtime.precision import full_precision, matmul_precision, settings

B: Any = torch.backends


def flags() -> dict[str, Any]:
    return {**settings(), "autocast": torch.is_autocast_enabled("cpu"), "word": torch.get_float32_matmul_precision()}


def full(found: dict[str, Any]) -> bool:
    shortened = {name: value for name, value in found.items() if name not in ("autocast", "word")}
    return not found["autocast"] and all(value in ("ieee", False, "highest") for value in shortened.values())


@pytest.mark.parametrize("word", ["highest", "high", "medium", None])
def test_inside_nothing_is_shortened_and_outside_all_is_as_before(word: str | None) -> None:
    start = flags()
    with matmul_precision(word), torch.autocast("cpu", torch.bfloat16):
        before = flags()
        with full_precision("cpu"):
            inside = settings() | {"autocast": torch.is_autocast_enabled("cpu")}
        with pytest.raises(KeyError), full_precision("cpu"):
            raise KeyError
        assert full(inside)
        assert flags() == before
        assert not full(before)
    assert start["word"] == flags()["word"]
    assert B.cudnn.allow_tf32


def test_the_words_set_what_they_say() -> None:
    with matmul_precision("high"):
        assert B.cuda.matmul.allow_tf32
        assert B.cudnn.allow_tf32
        assert settings()["cuda.matmul.fp32_precision"] == settings()["cudnn.conv.fp32_precision"] == "tf32"
    with matmul_precision("highest"):
        assert not B.cuda.matmul.allow_tf32
        assert not B.cudnn.allow_tf32
    with matmul_precision("medium"):
        assert settings()["mkldnn.matmul.fp32_precision"] == "bf16"
    with (
        pytest.raises(
            ValueError,
            match=r"^Expected `matmul_precision` to be one of \['highest', 'high', 'medium'\], but got 'low'",
        ),
        matmul_precision("low"),
    ):
        pass


def test_settings_of_older_versions_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_per_operation", lambda: False)
    with matmul_precision("high"):
        with full_precision("cpu"):
            assert not B.cuda.matmul.allow_tf32
            assert not B.cudnn.allow_tf32
        assert settings() == {
            "cuda.matmul.allow_tf32": True,
            "cudnn.allow_tf32": True,
            "float32_matmul_precision": "high",
        }


def test_products_with_the_hessian_are_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked where the gradient is computed: in the backward pass of a function of our own."""
    seen: list[bool] = []

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            seen.append(full(settings() | {"autocast": torch.is_autocast_enabled("cpu")}))
            return x**3

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            seen.append(full(settings() | {"autocast": torch.is_autocast_enabled("cpu")}))
            return slope * 3 * ctx.saved_tensors[0] ** 2

    with matmul_precision("high"), torch.autocast("cpu", torch.bfloat16):
        hessian = Hessian.at(lambda x: Cube.apply(x[0]).sum(), [torch.tensor([1.0, 2.0])])
        assert torch.equal(hessian.product(torch.ones(2)), torch.tensor([6.0, 12.0]))
    assert len(seen) >= 2
    assert all(seen)
