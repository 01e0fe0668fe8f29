from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden import golden
from references import ReferenceDiscrete

from robustnas.networks import DiscreteNetwork, Mixture, Supernet, one_hot
from robustnas.spaces import DARTS, S1, Choice, DARTSAllEdges, Genotype, NASBench201, SearchSpace, complete_cell

V2_NORMAL = [("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1)]
V2_NORMAL += [("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)]
V2_REDUCE = [("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1)]
V2_REDUCE += [("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)]
V2 = Genotype.from_quark0(V2_NORMAL, V2_REDUCE)


def size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_agrees_with_the_original_network() -> None:
    arrays, _ = golden("retrain_forward")
    network = DiscreteNetwork(DARTS, V2, channels=4, layers=3).double()
    network.load_edgewise_state_dict({k[2:]: v for k, v in arrays.items() if k.startswith("w/")})
    logits = network(arrays["x_train"])
    loss = F.cross_entropy(logits, arrays["y_train"])
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    torch.testing.assert_close(logits, arrays["out/logits"], rtol=1e-9, atol=1e-10)
    expected = {k.removeprefix("out/grad_w/"): v for k, v in arrays.items() if k.startswith("out/grad_w/")}
    actual = network.edgewise_state_dict(gradients)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-8, atol=1e-10)
    evaluated = network.eval()(arrays["x_val"])
    torch.testing.assert_close(evaluated, arrays["out/logits_val_eval"], rtol=1e-9, atol=1e-10)


def published_space(genotype: dict[str, list]) -> SearchSpace:
    """A space that holds a published genotype: NASNet and AmoebaNet have five nodes and own outputs."""
    operations = tuple({op for kind in ("normal", "reduce") for op, _ in genotype[kind]})
    cells = {
        kind: complete_cell(
            2, len(genotype[kind]) // 2, operations, tuple(genotype[f"{kind}_concat"]), kind == "reduce", keep=2
        )
        for kind in ("normal", "reduce")
    }
    return SearchSpace("Published", cells)


def test_parameter_counts_of_published_genotypes() -> None:
    arrays, _ = golden("retrain_forward")
    counts, genotypes = arrays["out/parameter_counts"], arrays["genotypes"]
    checked = 0
    with torch.device("meta"):
        for name, expected in counts.items():
            listing = genotypes[name]
            space = published_space(listing)
            genotype = Genotype.from_quark0(listing["normal"], listing["reduce"], "Published")
            for key, count in expected.items():
                cifar = key.startswith("cifar")
                network = DiscreteNetwork(
                    space, genotype, 36 if cifar else 48, 20 if cifar else 14, num_classes=10 if cifar else 1000,
                    stem="cifar" if cifar else "imagenet", auxiliary="total_with" in key,
                )  # fmt: skip
                assert size(network) == count, (name, key)
                checked += 1
    assert checked == 32


def test_all_skip_cell_of_nas_bench_201_has_its_known_size() -> None:
    skip = Genotype.from_nasbench201("|skip_connect~0|+|skip_connect~0|skip_connect~1|+" + "|".join(
        ["", "skip_connect~0", "skip_connect~1", "skip_connect~2", ""]))  # fmt: skip
    assert size(DiscreteNetwork(NASBench201, skip, channels=16)) == 73_306


def test_agrees_with_the_reference_on_odd_images() -> None:
    torch.manual_seed(0)
    ours = DiscreteNetwork(DARTS, V2, channels=4, layers=4, num_classes=3, image_channels=1).double()
    reference = ReferenceDiscrete(DARTS, V2, channels=4, layers=4, num_classes=3, image_channels=1).double()
    ours.load_edgewise_state_dict({k: v for k, v in reference.edgewise_state_dict().items() if "running" not in k})
    images = torch.randn(2, 1, 13, 10, dtype=torch.float64)
    torch.testing.assert_close(ours(images), reference(images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [32, 8, 17])
def test_auxiliary_head_fits_any_size_and_serves_training_only(size: int) -> None:
    network = DiscreteNetwork(DARTS, V2, channels=4, layers=6, num_classes=7, auxiliary=True)
    images = torch.randn(2, 3, size, size)
    logits, auxiliary = network.with_auxiliary(images)
    assert logits.shape == (2, 7)
    assert auxiliary is not None
    assert auxiliary.shape == (2, 7)
    assert network.eval().with_auxiliary(images)[1] is None


def test_imagenet_stem_divides_by_eight() -> None:
    network = DiscreteNetwork(DARTS, V2, channels=4, layers=3, num_classes=5, stem="imagenet")
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"Expected `images` to be at least 32 x 32 pixels.* but got 16 x 16"):
        network(torch.randn(2, 3, 16, 16))


def test_drop_path_spares_identities_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    skip = Genotype("DARTS", {kind: [(s, n, "skip_connect") for n in range(2, 6) for s in (0, 1)] for kind in ("normal", "reduce")})  # fmt: skip # noqa: E501
    for genotype, same in ((skip, True), (V2, False)):
        network = DiscreteNetwork(DARTS, genotype, channels=4, layers=3)
        cell, inputs = network.body.cells[0], (torch.randn(64, 12, 4, 4),) * 2
        clean = cell(inputs, None)
        dropped = torch.stack([cell(inputs, None, 0.5) for _ in range(200)])
        assert torch.equal(dropped[0], clean) == same
        torch.testing.assert_close(dropped.mean(), clean.mean(), atol=0.05, rtol=0)
        assert torch.equal(network.eval().body.cells[0](inputs, None, 0.5), network.body.cells[0](inputs, None))


def test_supernet_hands_down_its_weights() -> None:
    torch.manual_seed(0)
    supernet = Supernet(DARTS, channels=4, layers=3).double()
    network = DiscreteNetwork(DARTS, V2, channels=4, layers=3).double()
    network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    convolutions = Genotype.from_quark0([("sep_conv_3x3", 0), ("dil_conv_5x5", 1)] * 4, [("sep_conv_5x5", 0), ("skip_connect", 1)] * 4)  # fmt: skip # noqa: E501
    network = DiscreteNetwork(DARTS, convolutions, channels=4, layers=3).double()
    network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)
    mixtures: dict[str, Mixture] = {}
    for kind, cell in DARTS.cells.items():
        rows = [(cell.row(c.source, c.node), c.operation) for c in convolutions.cells[kind]]
        mixtures[kind] = one_hot(cell, {row: cell.edges[row].operations.index(op) for row, op in rows}, images)
    torch.testing.assert_close(network(images), supernet(images, mixtures), rtol=1e-10, atol=1e-12)


def test_none_is_no_edge_and_a_node_without_input_is_zero() -> None:
    choices = {
        kind: tuple(
            Choice(edge.source, edge.node, "none" if edge.node in (3, 5) else "sep_conv_3x3") for edge in cell.edges
        )
        for kind, cell in DARTSAllEdges.cells.items()
    }
    network = DiscreteNetwork(DARTSAllEdges, Genotype("DARTSAllEdges", choices), channels=4, layers=3)
    outputs = []
    network.body.ordered_cells()[1].register_forward_hook(lambda _, __, output: outputs.append(output))
    logits = network(torch.randn(2, 3, 8, 8))
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    nodes = outputs[0].chunk(4, dim=1)
    assert [bool((node == 0).all()) for node in nodes] == [False, True, False, True]
    assert all(node.shape == nodes[0].shape for node in nodes)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="Expected `genotype` to be from the space S1, but got one from DARTS"):
        DiscreteNetwork(S1, V2)
    with pytest.raises(ValueError, match="Expected `layers` to set the depth in the space DARTS"):
        DiscreteNetwork(DARTS, V2, cells=3)
    with pytest.raises(ValueError, match="to have the shape"):
        DiscreteNetwork(DARTS, V2, channels=8, layers=3).load_edgewise_state_dict(
            Supernet(DARTS, channels=4, layers=3).edgewise_state_dict(), strict=False
        )
