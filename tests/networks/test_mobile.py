"""The chain of mobile blocks as a network: against plain modules and the numbers of the original."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from chains import count, genotype
from golden import check, golden, part
from torch import Tensor, nn

from robustnas.networks import DiscreteNetwork, Mixture, PartialChannels, Supernet, one_hot, operations
from robustnas.networks.bundle import Bundle, State
from robustnas.networks.operations import MBConv
from robustnas.spaces import Genotype, Mobile, SearchSpace, complete_cell, mobile

SHORT = mobile("short", (1, 3, 2), ("mbconv_3x3_3", "mbconv_5x5_6"))


def drawn(space: SearchSpace, seed: int) -> Genotype:
    draw = random.Random(seed)
    return genotype(space, *(draw.choice(edge.operations) for _, edge in space))


class Plain:
    """A chain computed module by module, from weights by their names on edges."""

    def __init__(self, weights: dict[str, Tensor], strides: tuple[int, ...]) -> None:
        self.weights, self.strides = weights, strides

    def conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.weights[name]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        scale, offset = (self.weights[f"{self._norm(name)}.{leaf}"] for leaf in ("weight", "bias"))
        return F.batch_norm(x, None, None, scale, offset, training=True, eps=1e-3)

    def _norm(self, name: str) -> str:
        return name.replace(".conv", ".bn") if name.endswith(".conv") else f"{name}.bn"

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        if f"{name}.expand" in self.weights:
            x = F.relu6(self.conv(x, f"{name}.expand"))
        x = F.relu6(self.conv(x, f"{name}.depth", stride, x.shape[1]))
        return self.conv(x, f"{name}.project")

    def logits(self, images: Tensor, space: SearchSpace, mixture: Tensor) -> Tensor:
        x = self.block(F.relu6(self.conv(images, "stem.conv", self.strides[0])), "first", 1)
        starts = [sum(space.stages[:k]) for k in range(len(space.stages))]
        for k, edge in enumerate(space.cells["chain"].edges):
            stride = self.strides[1 + starts.index(k)] if k in starts else 1
            total: Any = 0 if k in starts else x
            for column, name in enumerate(edge.operations):
                if name != "none":
                    total = total + mixture[k, column] * self.block(x, f"cells.{k}.edge.{edge.name}.{name}", stride)
            x = total
        x = F.relu6(self.conv(x, "mix.conv")).mean(dim=(2, 3))
        return F.linear(x, self.weights["classifier.weight"], self.weights["classifier.bias"])


def named(network: Any) -> dict[str, Tensor]:
    """Weights edge by edge, moved away from ones and zeros and able to learn."""
    for name, parameter in network.named_parameters():
        if "bn" in name:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return {name: value.clone().requires_grad_() for name, value in network.edgewise_state_dict().items()}


@pytest.mark.parametrize(("stem", "strides", "size"), [("cifar", (1, 1, 2, 2), 9), ("imagenet", (2, 2, 2, 2), 18)])
def test_the_supernet_is_its_plain_modules(stem: Any, strides: tuple[int, ...], size: int) -> None:
    network = Supernet(SHORT, 8, num_classes=4, stem=stem).double()
    mixture = torch.rand(SHORT.cells["chain"].shape, dtype=torch.float64).requires_grad_()
    images, weights = torch.randn(3, 3, size, size, dtype=torch.float64), named(network)
    expected = Plain(weights, strides).logits(images, SHORT, mixture)
    found = network(images, {"chain": Mixture(mixture)})
    check(found, expected)
    own = dict(network.named_parameters())
    gradients = torch.autograd.grad(found.square().sum(), [mixture, *own.values()])
    edgewise = network.edgewise_state_dict(of=dict(zip(own, gradients[1:], strict=True)))
    wanted = torch.autograd.grad(expected.square().sum(), [mixture, *(weights[name] for name in edgewise)])
    check(gradients[0], wanted[0], rtol=1e-8, atol=1e-9)
    for (name, gradient), one in zip(edgewise.items(), wanted[1:], strict=True):
        torch.testing.assert_close(gradient, one, rtol=1e-7, atol=1e-8, msg=name)
    assert {name for name in weights if "running" not in name} == set(edgewise)


def test_blocks_agree_with_the_original() -> None:
    arrays, meta = golden("proxyless")
    weights = part(arrays, "w/blocks.0.")
    images = arrays["out/stem_output"]
    for k, name in enumerate(meta["ops"]["block0"]):
        if name == "Zero":
            assert not arrays["out/block0_op_outputs"][k].any()
            continue
        size, expansion = re.fullmatch(r"(\d)x\d_MBConv(\d)", name).groups()  # type: ignore[union-attr]
        block = MBConv(Bundle(1, 4, 4, affine=True), int(size), int(expansion)).double()
        for inside, target in block.state_dict().items():
            outside = f"{name}.{block.edgewise(inside, 0)[0]}"  # type: ignore[index]
            if "running" not in inside:
                target.copy_(weights[outside][None])
        check(block(State(images), (0,), None), arrays["out/block0_op_outputs"][k])


def test_operations_of_a_bundle_are_those_of_its_edges() -> None:
    """The operation serves other spaces too, where several edges leave a state."""
    bundle = MBConv(Bundle(3, 4, 4, stride=2), 5, 3).double()
    images, scale = torch.randn(2, 4, 7, 7, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = bundle(State(images), (2, 0), scale).chunk(2, dim=1)
    for output, position, weight in zip(found, (2, 0), scale, strict=True):
        one = MBConv(Bundle(1, 4, 4, stride=2), 5, 3).double()
        one.load_state_dict({name: value[position : position + 1] for name, value in bundle.state_dict().items()})
        check(output, weight * one(State(images), (0,), None))


@pytest.mark.parametrize("seed", range(3))
def test_a_discrete_network_that_inherits_is_the_supernet_at_its_corner(seed: int) -> None:
    found = drawn(SHORT, seed)
    supernet, network = Supernet(SHORT, 8).double(), DiscreteNetwork(SHORT, found, 8).double()
    chain = SHORT.cells["chain"]
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    supernet(images, {"chain": Mixture(torch.rand(chain.shape).double())})  # moves the running statistics
    network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)
    columns = {s: chain.edges[s].operations.index(name) for s, _, name in found.cells["chain"]}
    corner = {"chain": one_hot(chain, columns, images)}
    check(network.eval()(images), supernet.eval()(images, corner), rtol=1e-12)
    assert set(network.edgewise_state_dict()) < set(supernet.edgewise_state_dict())


def test_none_drops_the_block() -> None:
    names = ["mbconv_3x3_3", "mbconv_5x5_6", "none", "none", "mbconv_3x3_3", "none"]
    shorter = mobile("shorter", (1, 1, 1), SHORT.operations[:-1])
    deep = DiscreteNetwork(SHORT, genotype(SHORT, *names), 8)
    flat = DiscreteNetwork(shorter, genotype(shorter, *(name for name in names if name != "none")), 8)
    assert count(deep) == count(flat)
    for ours, theirs in zip(flat.parameters(), deep.parameters(), strict=True):
        ours.data.copy_(theirs)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(deep(images), flat(images))


def test_operations_that_are_not_active_are_not_computed() -> None:
    network = Supernet(SHORT, 8)
    called: list[str] = []
    for block in network.body.cells:
        for leaving in block.bundles:
            leaving.operation.register_forward_pre_hook(lambda op, _, name=leaving.name: called.append(name))
    chosen = {0: 1, 1: 0, 2: 2, 3: 2, 4: 0, 5: 1}
    corner = one_hot(SHORT.cells["chain"], chosen, torch.zeros(()))
    network(torch.randn(2, 3, 8, 8), {"chain": corner})
    assert called == ["mbconv_5x5_6", "mbconv_3x3_3", "mbconv_3x3_3", "mbconv_5x5_6"]


def test_an_offset_reaches_the_output_of_its_block() -> None:
    network, chain = Supernet(SHORT, 8).double().eval(), SHORT.cells["chain"]
    seen: list[Tensor] = []
    network.body.cells[2].register_forward_hook(lambda *call: seen.append(call[2]))
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    offsets = torch.tensor([0, 0, 0.75, 0, 0, 0], dtype=torch.float64)
    for given in (None, offsets):
        network(images, {"chain": Mixture(torch.full(chain.shape, 0.3, dtype=torch.float64), offsets=given)})
    check(seen[1] - seen[0], torch.full_like(seen[0], 0.75))


def test_computing_blocks_again_changes_nothing() -> None:
    plain, again = Supernet(SHORT, 8).double(), Supernet(SHORT, 8, checkpointing=True).double()
    again.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    results = []
    for network in (plain, again):
        mixture = torch.full(SHORT.cells["chain"].shape, 0.4, dtype=torch.float64).requires_grad_()
        loss = network(images, {"chain": Mixture(mixture)}).square().sum()
        results.append(torch.autograd.grad(loss, [mixture, *network.parameters()]))
    for one, other in zip(*results, strict=True):
        check(one, other)
    for (name, one), other in zip(plain.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_drop_path_drops_blocks_whose_input_goes_on() -> None:
    network = DiscreteNetwork(SHORT, genotype(SHORT, "mbconv_3x3_3"), 8)
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    for k, block in enumerate(network.body.cells):
        block.register_forward_hook(
            lambda _, given, output, k=k: (inputs.update({k: given[0][0]}), outputs.update({k: output}), None)[-1]
        )
    network(torch.randn(64, 3, 8, 8), 0.5)
    for k in (2, 3, 5):
        same = (inputs[k] == outputs[k]).flatten(1).all(dim=1)
        assert 15 < same.sum() < 49, k
    assert inputs[0].shape == outputs[0].shape
    assert not (inputs[0] == outputs[0]).flatten(1).all(dim=1).any()  # nothing bypasses the first of a stage
    network.eval()(torch.randn(2, 3, 8, 8), 0.5)
    assert all((inputs[k] != outputs[k]).any() for k in (2, 3, 5))


class Own(nn.Module):
    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_what_does_not_fit_the_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_KNOWN", dict(operations._KNOWN))
    operations.register_operation("own", Own)
    sentences: dict[str, Any] = {
        r"Expected `connection` to be `Full` in the space Mobile, whose blocks change the number of channels, so that "
        r"none can bypass them, but got PartialChannels\(k=4\)\.": lambda: Supernet(
            Mobile, connection=PartialChannels()
        ),
        r"Expected the space Mobile to set the depth, but got `layers` = 8\.": lambda: Supernet(Mobile, layers=8),
        r"Expected the space Mobile to set the depth, but got `cells` = 5\.": lambda: Supernet(Mobile, cells=5),
        r"Expected no `auxiliary` head in the space short, but got true\.": lambda: DiscreteNetwork(
            SHORT, drawn(SHORT, 0), auxiliary=True
        ),
    }
    for name in ("skip_connect", "max_pool_3x3", "own"):
        sentence = (
            rf"Expected the operations of 0-1, where a stage starts, to turn 16 channels into 24, but got '{name}'"
        )
        sentences[sentence] = lambda name=name: Supernet(mobile("x", (1,), ("mbconv_3x3_3", name)), 32)
    for sentence, call in sentences.items():
        with torch.device("meta"), pytest.raises(ValueError, match=sentence):
            call()


def test_its_operations_serve_other_spaces() -> None:
    space = SearchSpace(
        "own", {"cell": complete_cell(1, 3, ("none", "skip_connect", "mbconv_5x5_3"), (3,))}, "nasbench201"
    )
    mixture = torch.rand(space.cells["cell"].shape).requires_grad_()
    network = Supernet(space, 4, cells=1)
    network(torch.randn(2, 3, 8, 8), {"cell": Mixture(mixture)}).square().sum().backward()
    assert mixture.grad is not None
    assert mixture.grad[:, 1:].all()
