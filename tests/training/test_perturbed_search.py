"""Searches whose weights are trained at perturbed mixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from golden import check
from robustnas.variants import DARTS, SmoothDARTS
from runs import SMALLEST, differing, fit, search
from torch import Tensor

from robustnas.networks.batchnorm_statistics import evaluating
from robustnas.spaces import darts_like
from robustnas.strategies import AdversarialPerturbation, Perturbation, RandomPerturbation, StepContext
from robustnas.strategies.perturbation import Average, Mixtures

ASCENT = AdversarialPerturbation(steps=2)
BOTH = [RandomPerturbation(), ASCENT]


def name_of(part: Perturbation) -> str:
    return type(part).__name__


def snapshot(module: DARTS) -> dict[str, Any]:
    """All that an attack must leave alone, bit for bit."""
    tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    gradients = {f"grad {n}": p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    modes = {f"mode {name}": torch.tensor(part.training) for name, part in module.named_modules()}
    return {**tensors, **gradients, **modes, "random": torch.get_rng_state()}


class Watched(AdversarialPerturbation):
    """Writes down what it was given and gave, and compares the search before and after."""

    def perturb(
        self, mixtures: Mixtures, loss_at: Callable[[Mixtures], Tensor], context: StepContext, average: Average
    ) -> Mixtures:
        module: DARTS = SEEN["module"]
        training = [m.training for m in module.supernet.modules()]
        before = snapshot(module)
        found = super().perturb(mixtures, loss_at, context, average)
        SEEN["traces"].append(differing(before, snapshot(module)))
        SEEN["training"].append(any(training))
        SEEN["losses"].append([float(loss_at(at)) for at in (mixtures, found)])
        SEEN["asked"].append(loss_at(found).requires_grad)
        SEEN["found"].append({kind: mixture.operations.clone() for kind, mixture in found.items()})
        SEEN["clean"].append({kind: mixture.operations.clone() for kind, mixture in mixtures.items()})
        return found


SEEN: dict[str, Any] = {}


@pytest.mark.parametrize("space", ["NASBench201", pytest.param("S2", marks=pytest.mark.slow)])
def test_an_attack_leaves_no_trace_in_the_search_and_never_lowers_the_loss(tmp_path, space: str) -> None:
    module = search(space, perturbation=Watched(steps=3), drop_path=0.3, channels=2)
    SEEN.update(module=module, traces=[], training=[], losses=[], asked=[], found=[], clean=[])
    used: list[tuple[bool, dict[str, Tensor]]] = []
    module.supernet.register_forward_pre_hook(
        lambda m, args: used.append((m.training, {kind: one.operations.detach() for kind, one in args[1].items()}))
    )
    fit(tmp_path, module, max_epochs=2, limit_train_batches=3, limit_val_batches=0)
    assert SEEN["traces"] == [[]] * 6
    assert SEEN["training"] == [False] * 6  # the attack sees the network in evaluation
    assert SEEN["asked"] == [False] * 6  # nor can it reach the weights
    assert all(after >= before for before, after in SEEN["losses"])
    assert any(after > before for before, after in SEEN["losses"])
    assert all(m.training for m in module.supernet.modules())
    trained = [mixtures for training, mixtures in used if training]
    assert len(trained) == 12  # α and weights, in turn
    for k in range(6):
        for kind in module.space.cells:
            assert torch.equal(trained[2 * k + 1][kind], SEEN["found"][k][kind])
            assert not torch.equal(trained[2 * k + 1][kind], SEEN["clean"][k][kind])


def test_the_comparison_sees_a_trace() -> None:
    """In training the same losses move running statistics."""
    module, images = search(), torch.randn(4, 1, 8, 8)
    before = snapshot(module)
    with evaluating(module.supernet):
        assert not any(part.training for part in module.supernet.modules())
        module.supernet(images, module.mixtures(module.context("weights")))
    assert differing(before, snapshot(module)) == []
    module.supernet(images, module.mixtures(module.context("weights")))
    assert any("running_mean" in name for name in differing(before, snapshot(module)))


def test_evaluation_ends_with_each_module_in_its_own_mode_even_after_an_error() -> None:
    supernet = search().supernet
    frozen = next(part for part in supernet.modules() if isinstance(part, torch.nn.BatchNorm2d))
    frozen.eval()
    modes = [part.training for part in supernet.modules()]
    with pytest.raises(RuntimeError, match="inside"), evaluating(supernet):
        raise RuntimeError("inside")
    assert [part.training for part in supernet.modules()] == modes
    assert modes.count(False) == 1


@pytest.mark.parametrize("part", [RandomPerturbation(0.0, 0.0), AdversarialPerturbation(0.0, 0.0, 2)], ids=name_of)
def test_without_radius_the_search_is_darts(tmp_path, part: Perturbation) -> None:
    """Oracle 8, through the steps of a search; dividing rows by their sums may cost a rounding."""
    ends = []
    for options in ({}, {"perturbation": part}):
        module = search(**options).double()
        fit(tmp_path, module, precision="64-true", limit_train_batches=3, limit_val_batches=0)
        ends.append(dict(module.named_parameters()))
    for name, value in ends[0].items():
        check(ends[1][name], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("part", BOTH, ids=name_of)
def test_only_the_weights_feel_the_perturbation_at_first(tmp_path, part: Perturbation) -> None:
    """α steps at the clean mixture: its first step is that of DARTS, and the weights' is not."""
    plain, perturbed = (
        fit(tmp_path, search(**options), limit_train_batches=1, limit_val_batches=0).lightning_module
        for options in ({}, {"perturbation": part})
    )
    assert torch.equal(plain.alphas["cell"], perturbed.alphas["cell"])
    assert not torch.equal(plain.supernet.body.classifier.weight, perturbed.supernet.body.classifier.weight)


@pytest.mark.parametrize("part", BOTH, ids=name_of)
def test_a_ragged_space_is_searched(tmp_path, part: Perturbation) -> None:
    operations = ("skip_connect", "sep_conv_3x3", "noise")
    space = darts_like("Ragged", [operations[: 1 + row % 3] for row in range(14)])
    seen: list[Tensor] = []
    module = DARTS(space=space, layers=3, channels=2, image_channels=1, perturbation=part)
    module.supernet.register_forward_pre_hook(lambda m, args: seen.append(args[1]["normal"].operations.detach()))
    module.configure_callbacks = list  # a record wants a space that can be named
    fit(tmp_path, module, limit_train_batches=2, limit_val_batches=0)
    legal = torch.arange(3) < torch.tensor([1 + row % 3 for row in range(14)])[:, None]
    assert all(bool((weights[~legal] == 0).all()) for weights in seen)
    assert all(torch.allclose(weights.sum(dim=-1), torch.ones(14)) for weights in seen)
    module.genotype().validate(space)


@pytest.mark.parametrize("part", BOTH, ids=name_of)
@pytest.mark.parametrize(
    "options",
    [{"precision": "bf16-mixed"}, {"edge_weights": True}, {"batch_statistics": True}],
    ids=lambda options: next(iter(options)),
)
def test_it_goes_with_the_other_options_of_a_search(tmp_path, part: Perturbation, options: dict[str, Any]) -> None:
    running = {name: value for name, value in options.items() if name == "precision"}
    own = {name: value for name, value in options.items() if name not in running}
    module = search(perturbation=part, **own)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    fit(tmp_path, module, limit_train_batches=2, **running)
    assert [name for name, value in module.named_parameters() if torch.equal(value, before[name])] == []


def test_the_variant_attacks_unless_told_otherwise() -> None:
    options = {"channels": 2, "image_channels": 1, **SMALLEST["NASBench201"]}
    assert SmoothDARTS(**options).perturbation == AdversarialPerturbation(0.03, 0.3, 7)
    assert SmoothDARTS(RandomPerturbation(), **options).perturbation == RandomPerturbation(0.03, 0.3)
