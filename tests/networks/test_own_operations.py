"""Operations of users that write into their input are refused by name; those that hand it on are not."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tables import with_slow
from torch import Tensor, nn

from robustnas.networks import DiscreteNetwork, Mixture, PartialChannels, Supernet, operations, register_operation
from robustnas.spaces import Choice, Genotype, SearchSpace, complete_cell
from robustnas.training import compilation


class Own(nn.Module):
    """A module that some function of the images makes; the stride subsamples first, as a view."""

    def __init__(self, compute: Any, stride: int = 1) -> None:
        super().__init__()
        self.compute, self.stride = compute, stride

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.compute(images[..., :: self.stride, :: self.stride] if self.stride > 1 else images)
        return output


class InTraining(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mul_(2) if self.training else images * 2


def of_data(images: Tensor) -> Tensor:
    images.data.clamp_(min=0)
    return images * 2


def a_part(images: Tensor) -> Tensor:
    images[:, :1].zero_()
    return images


WRITING: dict[str, Any] = {
    "first": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Hardtanh()),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU6(inplace=True)))),
    "functional": lambda: nn.functional.relu_,
    "view": lambda: (
        lambda images: images.movedim(1, -1)[..., :2].relu_().movedim(-1, 1).repeat(1, images.shape[1] // 2, 1, 1)
    ),
    "detached": lambda: lambda images: images.detach().relu_() + images,
    "part": lambda: a_part,
    "data": lambda: of_data,
}
READING: dict[str, Any] = {
    "returned": lambda: lambda images: images,
    "view": lambda: lambda images: images.view_as(images),
    "own intermediate": lambda: nn.Sequential(nn.Hardtanh(), nn.ReLU(inplace=True)),
    "clone": lambda: lambda images: images.clone().relu_(),
    "not finite": lambda: lambda images: images / torch.zeros((), dtype=images.dtype),
}
MODES = [nullcontext, torch.no_grad, torch.inference_mode]
SENTENCE = (
    r"^Expected the operation 'own' to leave its input as it is, since other operations read the same images, but "
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))


def space(make: Any, *names: str) -> SearchSpace:
    register_operation("own", lambda channels, stride, affine: Own(make(), stride))
    names = names or ("skip_connect", "own", "nor_conv_3x3")
    return SearchSpace("own", {"cell": complete_cell(1, 3, names, outputs=(3,))}, "nasbench201")


def network(make: Any, **options: Any) -> Supernet:
    return Supernet(space(make), channels=4, cells=1, **options)


def run(found: Supernet, **options: Any) -> Tensor:
    shape = found.space.cells["cell"].shape
    logits: Tensor = found(torch.randn(2, 3, 8, 8), {"cell": Mixture(torch.full(shape, 0.3))}, **options)
    return logits


@pytest.mark.parametrize("name", WRITING)
def test_an_operation_that_writes_into_its_input_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=SENTENCE):
        run(network(WRITING[name]))
    found = network(WRITING[name]).eval()
    with torch.inference_mode(), pytest.raises(ValueError, match=SENTENCE):  # which counts no versions
        run(found)


def test_a_write_in_one_mode_only_is_seen_in_that_mode() -> None:
    found = network(InTraining).eval()
    run(found)
    with torch.inference_mode():
        run(found)
    with pytest.raises(ValueError, match=SENTENCE):
        run(found.train())


@pytest.mark.parametrize(
    "options", [{"checkpointing": True}, {"convolution": "dense"}, {"connection": PartialChannels(2)}], ids=str
)
def test_so_it_is_in_other_networks(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=SENTENCE):
        run(network(WRITING["functional"], **options))


def test_so_it_is_in_a_discrete_network() -> None:
    found = space(WRITING["functional"])
    edges = [(edge.source, edge.node) for edge in found.cells["cell"].edges]
    genotype = Genotype("own", {"cell": tuple(Choice(source, node, "own") for source, node in edges)})
    with pytest.raises(ValueError, match=SENTENCE):
        DiscreteNetwork(found, genotype, channels=4, cells=1)(torch.randn(2, 3, 8, 8))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Graphs that the compiler of cells gets."""
    found: list[Any] = []
    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "BACKEND", lambda graph, _: found.append(graph) or graph)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_so_it_is_in_compiled_cells(mode: Any, graphs: list[Any]) -> None:
    found = network(WRITING["nested"])
    compilation.compile_cells(found, torch.device("cpu"))
    with mode(), pytest.raises(ValueError, match=SENTENCE):
        run(found)
    assert graphs == []


@pytest.mark.parametrize("mode", with_slow(MODES, [torch.no_grad, torch.inference_mode]))
def test_compiled_cells_are_whole_once_nothing_was_written(mode: Any, graphs: list[Any]) -> None:
    found, plain = network(READING["clone"]), network(READING["clone"])
    plain.load_state_dict(found.state_dict())
    compilation.compile_cells(found, torch.device("cpu"))
    images, mixture = torch.randn(2, 3, 8, 8), {"cell": Mixture(torch.rand(found.space.cells["cell"].shape))}
    with mode():
        for count in (0, 3, 3):  # one for each cell
            torch.testing.assert_close(found(images, mixture), plain(images, mixture))
            assert len(graphs) == count


@pytest.mark.parametrize("name", READING)
def test_an_operation_that_hands_its_input_on_is_not_refused(name: str) -> None:
    for mode in MODES:
        found = network(READING[name])
        with mode():
            first = [run(found) for _ in range(2)]
        assert all(one.shape == (2, 10) for one in first), mode


def test_a_handed_on_input_is_the_skip_connection() -> None:
    torch.manual_seed(3)
    skip = Supernet(
        SearchSpace("s", {"cell": complete_cell(1, 3, ("skip_connect", "nor_conv_3x3"), (3,))}, "nasbench201"),
        4,
        cells=1,
    )
    own = Supernet(space(READING["returned"], "own", "nor_conv_3x3"), 4, cells=1)
    own.load_edgewise_state_dict(skip.edgewise_state_dict(), strict=False)
    images = torch.randn(2, 3, 8, 8)
    mixture = {"cell": Mixture(torch.rand(skip.space.cells["cell"].shape))}
    torch.testing.assert_close(own(images, mixture), skip(images, mixture))


def test_the_comparison_is_made_once_in_each_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    found, compared = network(READING["clone"]), []
    allclose = torch.allclose
    monkeypatch.setattr(torch, "allclose", lambda *a, **k: compared.append(a) or allclose(*a, **k))
    counts = []
    for training in (True, True, False, False, True):
        run(found.train(training))
        counts.append(len(compared))
    bundles = 3 * 3
    assert counts == [bundles, bundles, 2 * bundles, 2 * bundles, 2 * bundles]
