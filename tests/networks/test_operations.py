"""Operations of one's own, noise, and factorised convolutions."""

from __future__ import annotations

import pytest
import torch
from golden import check
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet, operations, register_operation
from robustnas.networks.bundle import Bundle, Convolution, State, spread
from robustnas.spaces import SearchSpace, complete_cell


class Mixer(nn.Module):
    """A user's operation: channels are mixed and scaled."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1, stride=stride)
        self.gain = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.norm(self.mix(x)) * self.gain
        return mixed


@pytest.fixture
def mixer(monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    """The space of someone who has an operation of their own."""
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    register_operation("mixer", Mixer)
    names = ("mixer", "skip_connect", "none")
    cells = {
        kind: complete_cell(2, 2, names, outputs=(2, 3), reduction=kind == "reduce", never_selected=("none",))
        for kind in ("normal", "reduce")
    }
    return SearchSpace("own", cells)


@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_a_space_with_an_operation_of_ones_own_runs(mixer: SearchSpace, convolution: Convolution) -> None:
    network = Supernet(mixer, channels=4, layers=3, convolution=convolution).double()
    weights = {k: torch.rand(c.shape, dtype=torch.float64).requires_grad_() for k, c in mixer.cells.items()}
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    loss = network(images, {kind: Mixture(values) for kind, values in weights.items()}).square().sum()
    named = dict(network.named_parameters())
    found = torch.autograd.grad(loss, [*weights.values(), *named.values()])
    assert all(gradient[:, 0].all() for gradient in found[:2])
    edgewise = network.edgewise_state_dict(of=dict(zip(named, found[2:], strict=True)))
    assert edgewise["cells.1.edge.0-2.mixer.mix.weight"].shape == (8, 8, 1, 1)
    assert edgewise["cells.0.edge.2-3.mixer.gain"].shape == ()
    assert sum(name.endswith("mixer.gain") for name in edgewise) == 3 * 5


def test_the_module_of_each_edge_is_weighed_like_any_operation(mixer: SearchSpace) -> None:
    bundle = Bundle(edges=2, channels=3, out_channels=3)
    operation = operations.build_operation("mixer", bundle)
    images = torch.randn(2, 3, 4, 4)
    output = operation(State(images), (1, 0), torch.tensor([0.5, 2.0]))
    expected = torch.cat([0.5 * operation.each[1](images), 2 * operation.each[0](images)], dim=1)
    check(output, expected)


def test_names_of_operations_are_taken_once(mixer: SearchSpace) -> None:
    register_operation("mixer", Mixer)  # the same again, as when a module is imported twice
    for name in ("mixer", "skip_connect", "none", "5x5"):
        with pytest.raises(
            ValueError, match=f"Expected `name` to be an identifier that is not in use, but got '{name}"
        ):
            register_operation(name, lambda channels, stride, affine: nn.Identity())


def test_an_own_operation_says_whether_it_has_no_parameters(
    mixer: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict then counts it with skip connections and poolings."""
    known = set(operations.PARAMETER_FREE)
    monkeypatch.setattr(operations, "PARAMETER_FREE", known)
    register_operation("blur", Mixer, parameter_free=True)
    assert "blur" in known
    register_operation("blur", Mixer)  # changed in a notebook
    assert not {"blur", "mixer"} & known


def test_an_unknown_operation_is_refused() -> None:
    cell = complete_cell(1, 2, ("skip_connect", "teleport"), outputs=(2,))
    with pytest.raises(ValueError, match=r"Expected every operation of the space to be one of .* but got 'teleport'"):
        Supernet(SearchSpace("far", {"cell": cell}, "nasbench201"))


@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_noise_is_standard_normal_and_differs_between_edges(convolution: Convolution) -> None:
    noise = operations.build_operation("noise", Bundle(3, 8, 8, stride=2, convolution=convolution))
    weights = torch.tensor([1.0, 1.0, 0.5], requires_grad=True)
    edges = noise(State(torch.zeros(8, 8, 31, 32)), (0, 1, 2), weights).unflatten(1, (3, 8))
    assert edges.shape == (8, 3, 8, 16, 16)
    for edge, deviation in enumerate((1, 1, 0.5)):
        assert edges[:, edge].mean().abs() < 0.03
        assert abs(edges[:, edge].std() / deviation - 1) < 0.03
    assert (edges[:, 0] * edges[:, 1]).mean().abs() < 0.03
    slope = torch.autograd.grad(edges.square().sum() / 2, weights)[0]
    check(slope, edges.square().sum(dim=(0, 2, 3, 4)) / weights, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_factorised_convolutions_are_two_plain_ones(convolution: Convolution, stride: int) -> None:
    operation = operations.build_operation(
        "conv_7x1_1x7", Bundle(2, 3, 3, stride=stride, convolution=convolution)
    ).double()
    images = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    found = operation(State(images), (0, 1), None).chunk(2, dim=1)
    for edge in range(2):
        wide = nn.functional.conv2d(images.relu(), operation.conv1[edge], None, (1, stride), (0, 3))
        tall = nn.functional.conv2d(wide, operation.conv2[edge], None, (stride, 1), (3, 0))
        check(found[edge], nn.functional.batch_norm(tall, None, None, training=True))


@pytest.mark.parametrize(
    ("size", "stride", "precision"),
    [
        ((8, 8), 1, torch.float32), ((8, 8), 2, torch.float64), ((7, 4), 1, torch.float64), ((7, 4), 2, torch.float32),
        ((1, 1), 1, torch.float32), ((1, 1), 2, torch.float64),
    ],
)  # fmt: skip
def test_average_pooling_leaves_the_padding_out(size: tuple[int, int], stride: int, precision: torch.dtype) -> None:
    images = torch.randn(2, 3, *size, dtype=precision, requires_grad=True)
    found, expected = (
        operations.average_pool(images, stride),
        nn.functional.avg_pool2d(images, 3, stride, 1, count_include_pad=False),
    )
    torch.testing.assert_close(found, expected)
    slopes = (torch.autograd.grad(output.pow(3).sum(), images)[0] for output in (found, expected))
    torch.testing.assert_close(*slopes)


def test_batch_norm_of_pooling_is_never_affine() -> None:
    bundle = Bundle(2, 4, 4, affine=True)
    assert not list(operations.build_operation("max_pool_3x3", bundle).parameters())
    assert {name for name, _ in operations.build_operation("dil_conv_3x3", bundle).named_parameters()} == {
        "dw", "pw", "bn.weight", "bn.bias",
    }  # fmt: skip


@pytest.mark.parametrize("scale", [None, torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)], ids=["ones", "weights"])
@pytest.mark.parametrize("edges", [1, 3])
def test_spreading_repeats_and_weighs(edges: int, scale: Tensor | None) -> None:
    images = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    weights = torch.ones(edges, dtype=torch.float64) if scale is None else scale[:edges]
    found = spread(images, edges, None if scale is None else weights)
    check(found, torch.cat([weight * images for weight in weights], dim=1))


@pytest.mark.parametrize(
    ("convolution", "channels", "precision", "dense"),
    [
        ("auto", 16, torch.float32, False),
        ("auto", 16, torch.bfloat16, True),
        ("auto", 64, torch.bfloat16, False),
        ("separable", 16, torch.bfloat16, False),
        ("dense", 64, torch.float32, True),
    ],
)
def test_the_form_follows_precision_and_channels(
    convolution: Convolution, channels: int, precision: torch.dtype, dense: bool
) -> None:
    bundle, images = Bundle(2, channels, channels, convolution=convolution), torch.zeros(1, channels, 2, 2)
    assert bundle.dense(images.to(precision)) == dense
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        assert bundle.dense(images) == dense
    assert bundle.dense(images.to("meta")) == (convolution != "separable")
