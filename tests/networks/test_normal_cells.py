"""Networks of normal cells only: one cell is a network, and nothing halves the resolution."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from references import ReferenceDiscrete, ReferenceSupernet

from robustnas.cost import Profiler
from robustnas.networks import DiscreteNetwork, Mixture, Supernet
from robustnas.spaces import (
    DARTSSingleCell,
    DARTSSingleCellWithoutSkip,
    Genotype,
    SearchSpace,
    darts_like,
    parse_genotype,
    random_genotype,
)

SMALL = darts_like("Small", ("none", "skip_connect", "sep_conv_3x3"), nodes=3, reduction=False)


def images_of(network: torch.nn.Module, size: int = 8) -> list[tuple[int, ...]]:
    """Shapes of the outputs of cells for images of a size."""
    shapes: list[tuple[int, ...]] = []
    for cell in network.body.cells:
        cell.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    return shapes


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_every_cell_is_normal_and_keeps_resolution_and_channels(layers: int) -> None:
    network = Supernet(SMALL, channels=4, layers=layers)
    shapes = images_of(network)
    network(torch.randn(2, 3, 7, 9), {"normal": Mixture(torch.rand(SMALL.cells["normal"].shape))})
    assert network.body.kinds == ["normal"] * layers
    assert shapes == [(12, 7, 9)] * layers  # three nodes of four channels
    assert network.body.shrink == 1


def test_a_network_has_one_cell_by_default_and_at_least_one() -> None:
    assert len(Supernet(DARTSSingleCell, channels=2).body.cells) == 1
    with pytest.raises(ValueError, match=r"^Expected `layers` to be at least 1, but got 0\.$"):
        Supernet(DARTSSingleCell, channels=2, layers=0)
    with pytest.raises(ValueError, match=r"^Expected `layers` to set the depth in the space DARTSSingleCell"):
        Supernet(DARTSSingleCell, channels=2, cells=1)
    stem = Supernet(SMALL, channels=4, stem="imagenet", num_classes=5)
    logits = stem(torch.randn(2, 3, 16, 16), {"normal": Mixture(torch.rand(SMALL.cells["normal"].shape))})
    assert (stem.body.shrink, logits.shape) == (8, (2, 5))


@pytest.mark.parametrize("space", [SMALL, DARTSSingleCell, DARTSSingleCellWithoutSkip], ids=lambda space: space.name)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_discrete_network_computes_as_its_edges_one_by_one(space: SearchSpace, layers: int) -> None:
    genotype = random_genotype(space, Random(layers))
    reference = ReferenceDiscrete(space, genotype, channels=4, layers=layers, num_classes=5).double()
    network = DiscreteNetwork(space, genotype, channels=4, layers=layers, num_classes=5).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    expected = reference(images)
    torch.testing.assert_close(network(images), getattr(expected, "logits", expected), rtol=1e-10, atol=1e-12)


def test_a_supernet_of_two_cells_computes_as_its_edges_one_by_one() -> None:
    settings: dict[str, Any] = {"layers": 2, "num_classes": 4}
    reference = ReferenceSupernet(DARTSSingleCell, 2, **settings).double()
    network = Supernet(DARTSSingleCell, 2, **settings).double()
    network.load_edgewise_state_dict(reference.edgewise_state_dict())
    weights = torch.rand(DARTSSingleCell.cells["normal"].shape, dtype=torch.float64)
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    expected = reference(images, {"normal": weights})
    torch.testing.assert_close(network(images, {"normal": Mixture(weights)}), expected, rtol=1e-10, atol=1e-12)


def test_an_auxiliary_head_looks_at_the_cell_at_two_thirds() -> None:
    for layers, place in ((1, 0), (3, 2), (6, 4)):
        genotype = random_genotype(SMALL, Random(0))
        network = DiscreteNetwork(SMALL, genotype, channels=4, layers=layers, num_classes=5, auxiliary=True)
        outputs, auxiliary = network.with_auxiliary(torch.randn(2, 3, 16, 16))
        assert network.body.auxiliary_at == place
        assert auxiliary is not None
        assert outputs.shape == auxiliary.shape == (2, 5)


def test_weights_are_counted_by_formula() -> None:
    """In a separable convolution of C channels twice 9 C + C², with BatchNorm's 4 C in the discrete network."""
    c = 4
    cells = {"normal": [(source, node, "sep_conv_3x3") for node in (2, 3, 4) for source in (0, 1)]}
    genotype = Genotype("Small", cells)  # type: ignore[arg-type]
    network = DiscreteNetwork(SMALL, genotype, channels=c, num_classes=10)
    stem = 3 * 3 * c * 9 + 2 * 3 * c
    inputs = 2 * (3 * c * c + 2 * c)
    operations = 6 * (2 * (9 * c + c * c) + 4 * c)
    assert sum(w.numel() for w in network.parameters()) == stem + inputs + operations + (3 * c + 1) * 10
    table = Profiler(SMALL, channels=c, num_classes=10).table(["parameters"])
    assert table.cost(genotype, "parameters", SMALL) == sum(w.numel() for w in network.parameters())


def test_a_genotype_is_read_in_the_form_of_darts_where_the_space_is_given() -> None:
    pairs = "('sep_conv_3x3', 0), ('skip_connect', 1)"
    text = f"Genotype(normal=[{pairs}, {pairs}, {pairs}], normal_concat=range(2, 5))"
    genotype = parse_genotype(text, SMALL).validate(SMALL)
    assert [str(choice) for choice in genotype.cells["normal"]][:2] == ["0-2 sep_conv_3x3", "1-2 skip_connect"]
    assert parse_genotype(str(genotype)) == parse_genotype(genotype.to_json()) == genotype
    assert parse_genotype(f"{{'normal': [{pairs}, {pairs}, {pairs}]}}", SMALL) == genotype
    with pytest.raises(ValueError, match=r"^Expected `Genotype` to have the fields normal, normal_concat, reduce, "):
        parse_genotype(text)
