"""Perturbed mixtures stay on the simplex and near the clean ones, and never lower the loss."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any

import pytest
import torch
from golden import check
from tables import check_each
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.spaces import darts_like
from robustnas.strategies import AdversarialPerturbation, Perturbation, RandomPerturbation, StepContext
from robustnas.strategies import perturbation as perturbing
from robustnas.strategies.perturbation import Mixtures
from robustnas.training.search import SearchModule

BOTH = [RandomPerturbation, AdversarialPerturbation]
WIDTHS = [1 + row % 3 for row in range(14)]
LEGAL = torch.arange(3) < torch.tensor(WIDTHS)[:, None]


def context(epoch: int = 0, epochs: int = 1, seed: int = 0) -> StepContext:
    return StepContext("weights", epoch, epochs, torch.Generator().manual_seed(seed))


def drawn(*shape: int, dtype: torch.dtype = torch.float64, spread: float = 1.0) -> Tensor:
    return (spread * torch.randn(shape, dtype=dtype)).softmax(dim=-1)


def bowl(mixtures: Mixtures) -> Tensor:
    """A loss that rises in all directions, and drops nowhere around the uniform mixture."""
    return torch.stack([mixture.operations.square().sum() for mixture in mixtures.values()]).sum()


def tilted(slopes: dict[str, Tensor], mixtures: Mixtures) -> Tensor:
    """A linear loss."""
    return torch.stack([(mixture.operations * slopes[kind]).sum() for kind, mixture in mixtures.items()]).sum()


def unasked(_: Mixtures) -> Tensor:
    raise AssertionError


def perturbed(
    part: Perturbation, mixtures: Mixtures, loss_at: Callable[[Mixtures], Tensor] = bowl, **when: int
) -> dict[str, Tensor]:
    found = part.perturb(mixtures, loss_at, context(**when), list)
    return {kind: mixture.operations for kind, mixture in found.items()}


@pytest.mark.parametrize(
    ("part", "radius", "spread"),
    [
        (RandomPerturbation, 0.03, 0.1), (AdversarialPerturbation, 0.03, 3.0), (RandomPerturbation, 0.03, 30.0),
        (AdversarialPerturbation, 0.3, 0.1), (RandomPerturbation, 0.3, 3.0), (AdversarialPerturbation, 0.3, 30.0),
        (RandomPerturbation, 1.0, 0.1), (AdversarialPerturbation, 1.0, 3.0), (AdversarialPerturbation, 1.0, 30.0),
    ],
)  # fmt: skip
def test_rows_stay_on_the_simplex(part: Any, radius: float, spread: float) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        clean = {"normal": Mixture(drawn(14, 8, spread=spread)), "reduce": Mixture(drawn(14, 3, spread=spread))}
        slopes = {"normal": torch.randn(14, 8), "reduce": torch.randn(14, 3)}
        found = perturbed(part(radius, radius), clean, partial(tilted, slopes), seed=seed)
        for kind, operations in found.items():
            assert bool((operations >= 0).all())
            check(operations.sum(dim=-1), torch.ones(14, dtype=torch.float64), rtol=1e-14)
            assert (operations - clean[kind].operations).abs().max() > 0.1 * radius


def test_noise_is_uniform_in_the_box_and_new_with_each_generator() -> None:
    """Before the rows are divided by their sums; at 0.5 nothing is clamped, so that the two entries keep their sum."""
    like = torch.full((100_000, 2), 0.5)
    noise = perturbing._noise(like, 0.3, torch.Generator().manual_seed(0))
    assert noise.dtype == torch.float32
    assert noise.abs().max() <= 0.3
    counts = torch.histc(noise, 10, -0.3, 0.3) / noise.numel()
    check(counts, torch.full((10,), 0.1), atol=0.003)
    first = perturbed(RandomPerturbation(), {"cell": Mixture(like)}, unasked)["cell"]
    expected = like + perturbing._noise(like, 0.03, torch.Generator().manual_seed(0))
    check(first, expected / expected.sum(dim=-1, keepdim=True), rtol=1e-6)
    assert not torch.equal(first, perturbed(RandomPerturbation(), {"cell": Mixture(like)}, unasked, seed=1)["cell"])
    assert torch.equal(first, perturbed(RandomPerturbation(), {"cell": Mixture(like)}, unasked)["cell"])


def test_kinds_of_cells_get_noise_of_their_own() -> None:
    clean = drawn(14, 8)
    found = perturbed(RandomPerturbation(), {"normal": Mixture(clean), "reduce": Mixture(clean)})
    assert bool((found["normal"] != found["reduce"]).all())


@pytest.mark.parametrize("part", BOTH)
def test_the_radius_grows_linearly(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    plain = perturbing._noise
    monkeypatch.setattr(perturbing, "_noise", lambda like, r, g: (seen.append(r), plain(like, r, g))[1])
    for epoch in (0, 1, 25, 49):
        perturbed(part(), {"cell": Mixture(drawn(6, 5))}, epoch=epoch, epochs=50)
    assert seen == pytest.approx([0.03, 0.0354, 0.165, 0.2946], abs=1e-12)


@pytest.mark.parametrize("part", BOTH)
def test_no_radius_is_no_perturbation(part: Any) -> None:
    """Up to the rounding of divisions by a sum that is one up to its own rounding (oracle 8)."""
    clean = drawn(14, 8, dtype=torch.float32)
    found = perturbed(part(0.0, 0.0), {"cell": Mixture(clean)}, lambda m: -bowl(m), epoch=3, epochs=5)["cell"]
    check(found, clean, rtol=2 * torch.finfo(torch.float32).eps, atol=0.0)


def test_a_radius_out_of_range_is_refused() -> None:
    def correct(radius: float, name: str, part: Any) -> None:
        with pytest.raises(ValueError, match=rf"Expected `{name}` to be between 0 and 1, but got {radius}\."):
            part(**{name: radius})

    check_each(
        itertools.product([-0.01, 1.01, float("nan"), float("inf")], ["radius_start", "radius_end"], BOTH),
        lambda row: correct(*row),
    )


def test_an_attack_without_steps_is_refused() -> None:
    def correct(steps: int) -> None:
        with pytest.raises(ValueError, match=rf"Expected `steps` to be at least 1, but got {steps}\."):
            AdversarialPerturbation(steps=steps)

    check_each([0, -3], correct)


def test_parts_are_frozen_and_equal_if_their_numbers_are() -> None:
    assert AdversarialPerturbation() == AdversarialPerturbation(0.03, 0.3, 7) != AdversarialPerturbation(steps=6)
    assert RandomPerturbation() == RandomPerturbation(0.03, 0.3) != RandomPerturbation(radius_end=0.2)
    with pytest.raises(FrozenInstanceError):
        RandomPerturbation().radius_end = 0.1  # type: ignore[misc]


def test_a_row_that_is_clamped_to_zero_becomes_its_largest_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.tensor([[-0.9, -0.5, -0.3, 0.0], [-0.5, -0.1, 0.1, 0.0]])
    monkeypatch.setattr(perturbing, "_noise", lambda *_: noise)
    clean = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.4, 0.4, 0.2, 0.0]])
    found = perturbed(RandomPerturbation(1.0, 1.0), {"cell": Mixture(clean)})["cell"]
    check(found, torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0]]), rtol=1e-6)


@pytest.mark.parametrize("part", BOTH)
def test_edges_and_what_is_not_computed_stay_as_they_are(part: Any) -> None:
    active = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    clean = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    mixture = Mixture(clean, edges=torch.tensor([0.2, 0.3, 0.5]), active=active)
    (found,) = part(0.5, 0.5).perturb({"cell": mixture}, bowl, context(), list).values()
    assert found.edges is mixture.edges
    assert found.active is mixture.active
    assert torch.equal(found.operations[1:], clean[1:])
    assert float(found.operations[0, 1]) == 0
    check(found.operations[0].sum(), torch.tensor(1.0), rtol=1e-6)
    assert not torch.equal(found.operations[0], clean[0])


def test_the_attack_climbs_to_the_worst_corner_of_the_box() -> None:
    """A linear loss: without clamping or rows to divide, all entries move along the sign of the slope."""
    slope = torch.tensor([[1.0, -1.0, 2.0, -2.0]])
    clean = torch.full((1, 4), 0.25)
    found = perturbed(
        AdversarialPerturbation(0.1, 0.1), {"cell": Mixture(clean)}, lambda m: (m["cell"].operations * slope).sum()
    )["cell"]
    check(found, clean + 0.1 * slope.sign(), rtol=1e-5)


def test_the_loss_never_falls() -> None:
    """Oracle 9, on losses whose sign gradient overshoots."""
    reverted = 0
    for seed in range(40):
        torch.manual_seed(seed)
        clean, target = drawn(6, 5), drawn(6, 5)

        def loss_at(mixtures: Mixtures, target: Tensor = target, clean: Tensor = clean) -> Tensor:
            x = mixtures["cell"].operations
            return torch.cos(300 * (x - clean)).sum() + (x * target).sum()

        found = perturbed(AdversarialPerturbation(0.03, 0.03), {"cell": Mixture(clean)}, loss_at, seed=seed)["cell"]
        assert loss_at({"cell": Mixture(found)}) >= loss_at({"cell": Mixture(clean)})
        reverted += torch.equal(found, clean)
    assert reverted > 0


def test_a_loss_that_depends_on_no_mixture_leaves_the_attack_at_its_start() -> None:
    """As where every node has been pruned to `none`."""
    clean = {"cell": Mixture(drawn(6, 5))}
    found = perturbed(AdversarialPerturbation(0.03), clean, lambda _: torch.tensor(1.0))
    started = perturbing._shaken(clean, 0.03, context())
    torch.testing.assert_close(found["cell"], started["cell"], rtol=0, atol=1e-12)


def test_a_fruitless_attack_gives_back_the_clean_mixture_of_every_kind() -> None:
    clean = {"normal": Mixture(drawn(14, 8)), "reduce": Mixture(drawn(14, 3))}
    peak = {kind: mixture.operations for kind, mixture in clean.items()}

    def peaked(mixtures: Mixtures) -> Tensor:
        return -torch.stack([(m.operations - peak[k]).square().sum() for k, m in mixtures.items()]).sum()

    found = perturbed(AdversarialPerturbation(), clean, peaked)
    assert all(torch.equal(operations, clean[kind].operations) for kind, operations in found.items())


def test_the_attack_follows_the_average_and_so_does_the_comparison() -> None:
    """Another process's slope outweighs this one's, in the steps and in what is compared."""
    clean = {"cell": Mixture(torch.full((2, 4), 0.25))}
    slope = torch.tensor([1.0, -1.0, 1.0, -1.0])

    def loss_at(mixtures: Mixtures) -> Tensor:
        return (mixtures["cell"].operations * slope).sum()

    def with_other(tensors: Any) -> list[Tensor]:
        return [(tensor - 3 * tensor) / 2 for tensor in tensors]

    found = AdversarialPerturbation(0.1, 0.1).perturb(clean, loss_at, context(), with_other)["cell"].operations
    check(found, 0.25 - 0.1 * slope.expand(2, 4), rtol=1e-5)


def test_only_what_asks_for_losses_says_so() -> None:
    """Tested with losses that fail for those that do not."""
    assert [part.measures for part in (Perturbation, AdversarialPerturbation, RandomPerturbation)] == [
        True,
        True,
        False,
    ]
    perturbed(RandomPerturbation(), {"cell": Mixture(drawn(6, 5))}, unasked)
    with pytest.raises(AssertionError):
        perturbed(AdversarialPerturbation(), {"cell": Mixture(drawn(6, 5))}, unasked)


def test_the_attack_leaves_no_trace() -> None:
    weight = torch.randn(6, 5, requires_grad=True)
    clean = {"cell": Mixture(drawn(6, 5, dtype=torch.float32))}
    kept = clean["cell"].operations.clone()

    def noisy(mixtures: Mixtures) -> Tensor:
        return (mixtures["cell"].operations * weight * torch.rand(6, 5)).sum()

    before = torch.get_rng_state()
    found = AdversarialPerturbation().perturb(clean, noisy, context(), list)["cell"].operations
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clean["cell"].operations, kept)
    assert not clean["cell"].operations.requires_grad
    assert weight.grad is None
    assert not found.requires_grad
    assert found.grad_fn is None


@pytest.mark.parametrize("part", BOTH)
def test_places_without_a_candidate_stay_empty(part: Any) -> None:
    operations = ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")
    space = darts_like("Ragged", [operations[:width] for width in WIDTHS])
    search = SearchModule(space, channels=2, layers=3, alpha_init=1.0)
    clean = {kind: mixture.detach() for kind, mixture in search.mixtures(context()).items()}
    images = torch.randn(4, 3, 8, 8)
    found = perturbed(part(1.0, 1.0), clean, lambda m: search.supernet(images, m).square().sum())
    for kind, weights in found.items():
        assert bool((weights[~LEGAL] == 0).all())
        check(weights.sum(dim=-1), torch.ones(14), rtol=1e-6)
        check(weights[0], torch.tensor([1.0, 0.0, 0.0]))
        assert not torch.equal(weights, clean[kind].operations)
