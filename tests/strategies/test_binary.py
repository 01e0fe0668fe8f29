"""Gates open with the right probabilities, learn by the formula, and leave alone what was not looked at."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check
from torch import Tensor

from robustnas.networks import Mixture, Supernet
from robustnas.networks.bundle import Operation
from robustnas.networks.operations import Noise
from robustnas.spaces import DARTS, NASBench201, SearchSpace
from robustnas.spaces.find import KNOWN
from robustnas.strategies import BinaryGates, StepContext
from robustnas.strategies.binary_gates import Draw, Mode, binary_gates, rescaled
from robustnas.strategies.step_context import Phase
from robustnas.training.architecture_parameters import candidate_mask, masked, zero_mask

MODES: tuple[Mode, ...] = ("two", "full", "full_v2")
ALPHA = torch.tensor([0.4, -0.9, 1.3, 0.0], dtype=torch.float64)
DRAWS = 40_000


def context(seed: int = 0, phase: Phase = "arch", zero_mask: Tensor | None = None) -> StepContext:
    return StepContext(phase, 0, 1, torch.Generator().manual_seed(seed), zero_mask)


def near(counts: Tensor, chances: Tensor) -> None:
    """Fail unless the counts of many draws are within four standard deviations of their expectation."""
    check(chances.sum(), torch.ones((), dtype=chances.dtype))
    deviations = (chances * (1 - chances) * DRAWS).sqrt()
    assert ((counts - chances * DRAWS).abs() <= 4 * deviations).all()


def test_pairs_are_drawn_without_replacement_and_one_of_each_is_opened() -> None:
    draw = BinaryGates("two").draw(ALPHA.expand(DRAWS, 4), context(1))
    assert torch.equal(draw.looked_at.sum(1), torch.full((DRAWS,), 2))
    p, counts, chances = ALPHA.softmax(0), [], []
    for a, b in combinations(range(4), 2):
        pair = draw.looked_at[:, a] & draw.looked_at[:, b]
        together = p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b])
        for one in (a, b):
            counts.append((pair & (draw.chosen == one)).sum())
            chances.append(together * p[one] / (p[a] + p[b]))
    near(torch.stack(counts), torch.stack(chances))


@pytest.mark.parametrize(("mode", "phase"), [("two", "weights"), ("full", "weights"), ("full", "arch")])
def test_one_operation_is_drawn_from_softmax(mode: Mode, phase: Phase) -> None:
    draw = BinaryGates(mode).draw(ALPHA.expand(DRAWS, 4), context(2, phase))
    near(draw.chosen.bincount(minlength=4), ALPHA.softmax(0))
    assert torch.equal(draw.looked_at.sum(1), torch.full((DRAWS,), 1 if phase == "weights" else 4))
    assert draw.looked_at.gather(1, draw.chosen[:, None]).all()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_candidate_is_never_looked_at(mode: Mode) -> None:
    rows = torch.tensor([[0.0, 1.0, -torch.inf], [-torch.inf, 0.3, -torch.inf]], dtype=torch.float64)
    alpha = rows.repeat(500, 1).requires_grad_()
    mixture = BinaryGates(mode).mixture(alpha, context(3))
    assert torch.equal(mixture.operations.sum(1), torch.ones(1000, dtype=torch.float64))
    assert mixture.active is not None
    looked_at = mixture.active if mixture.probed is None else mixture.active | mixture.probed
    assert torch.equal(looked_at, rows.isfinite().repeat(500, 1))
    (gradient,) = torch.autograd.grad(mixture.operations, alpha, torch.randn(1000, 3, dtype=torch.float64))
    assert gradient[:, 0].reshape(500, 2)[:, 0].abs().min() > 0
    assert torch.equal(gradient[1::2], torch.zeros(500, 3, dtype=torch.float64))
    after = BinaryGates(mode).project_alpha(rows, rows + torch.tensor([[0.1], [0.2]]), context(3))
    assert torch.equal(after.isfinite(), rows.isfinite())


@pytest.mark.parametrize("looked_at", [[0, 2], [0, 1, 2, 3], [1]], ids=str)
def test_the_gradient_is_that_of_the_formula(looked_at: list[int]) -> None:
    alpha, chosen = ALPHA[None].clone().requires_grad_(), torch.tensor([looked_at[-1]])
    mask = torch.zeros(1, 4, dtype=torch.bool)
    mask[0, looked_at] = True
    gates = binary_gates(alpha, Draw(mask, chosen))
    assert torch.equal(gates, F.one_hot(chosen, 4).double())
    slopes = torch.tensor([0.7, -1.1, 0.2, 2.0], dtype=torch.float64)
    r, expected = ALPHA[looked_at].softmax(0), torch.zeros(4, dtype=torch.float64)
    for i, one in enumerate(looked_at):
        for j, other in enumerate(looked_at):
            expected[one] += slopes[other] * r[j] * (float(i == j) - r[i])
    (gradient,) = torch.autograd.grad(gates, alpha, slopes[None])
    check(gradient[0], expected, rtol=1e-12, atol=1e-15)
    assert gradient.sum().abs() < 1e-15


def test_rescaling_leaves_the_probabilities_of_all_others() -> None:
    torch.manual_seed(0)
    before = torch.randn(50, 7, dtype=torch.float64)
    looked_at = BinaryGates().draw(before, context(5)).looked_at
    moved = before + looked_at * torch.randn(50, 7, dtype=torch.float64)
    after = rescaled(before, moved, looked_at)
    assert torch.equal(after[~looked_at], before[~looked_at])
    check(after.softmax(1)[~looked_at], before.softmax(1)[~looked_at], rtol=1e-12)
    assert not torch.allclose(moved.softmax(1)[~looked_at], before.softmax(1)[~looked_at])
    check(after[looked_at].view(50, 2).diff(), moved[looked_at].view(50, 2).diff(), rtol=1e-12)
    assert torch.equal(rescaled(before, before, looked_at), before)


def test_settling_looks_at_what_the_mixtures_of_the_step_looked_at() -> None:
    part, now, then = BinaryGates("two"), context(7), context(7)
    alphas = [torch.randn(14, 8, dtype=torch.float64) for _ in range(2)]
    looked_at = [part.mixture(alpha, now).active for alpha in alphas]
    assert not torch.equal(*looked_at)
    for alpha, mask in zip(alphas, looked_at, strict=True):
        moved = alpha + mask * torch.randn(14, 8, dtype=torch.float64)
        check(part.project_alpha(alpha, moved, then), rescaled(alpha, moved, mask), rtol=0, atol=0)
    for mode in ("full", "full_v2"):
        assert BinaryGates(mode).project_alpha(alphas[0], moved, context(7)) is moved


@pytest.mark.parametrize("mode", MODES)
def test_an_edge_whose_open_gate_gives_nothing_learns_nothing(mode: Mode) -> None:
    alpha = torch.zeros(400, 5, dtype=torch.float64, requires_grad=True)
    nothing = F.one_hot(torch.zeros(400, dtype=torch.long), 5).bool()
    slopes = torch.randn(400, 5, dtype=torch.float64)
    for skips in (True, False):
        mixture = BinaryGates(mode, skip_update_at_zero=skips).mixture(alpha, context(8, zero_mask=nothing))
        (gradient,) = torch.autograd.grad(mixture.operations, alpha, slopes)
        zero = mixture.operations[:, 0] == 1
        assert 40 < int(zero.sum()) < 120
        assert ((gradient != 0).sum(1) == (2 if mode == "two" else 5))[~zero].all()
        assert (gradient[zero] == 0).all() == skips
        assert mixture.active is not None
        looked_at = mixture.active if mixture.probed is None else mixture.active | mixture.probed
        assert (looked_at[zero].sum(1) == 1).all() == skips
    assert torch.equal(BinaryGates(mode).project_alpha(alpha, alpha + 0.0, context(8, zero_mask=nothing)), alpha)


def test_evaluation_opens_the_most_probable_gates() -> None:
    for mode in MODES:
        alpha = torch.randn(14, 8)
        mixture = BinaryGates(mode).mixture(alpha, context(phase="evaluation"))
        assert torch.equal(mixture.active, F.one_hot(alpha.argmax(1), 8).bool())
        assert torch.equal(mixture.operations, mixture.active.float())
        assert mixture.probed is None


def test_the_same_seed_draws_the_same_and_no_other_state_is_touched() -> None:
    alpha, before = torch.randn(14, 8), torch.get_rng_state()
    first, again, other = (BinaryGates().mixture(alpha, context(seed)) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.active, again.active)
    assert not torch.equal(first.active, other.active)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `mode` to be 'two', 'full' or 'full_v2', but got 'one'"):
        BinaryGates("one")  # type: ignore[arg-type]


DEPTHS: dict[str, dict[str, int]] = {
    "darts": {"layers": 3}, "darts_normal": {"layers": 1}, "nasbench201": {"cells": 1}, "mobile": {},
}  # fmt: skip


class Case:
    """A small supernet with α in one of the spaces."""

    def __init__(self, space: SearchSpace, of_none: float = -2.0) -> None:
        torch.manual_seed(4)
        self.space = space
        self.network = Supernet(space, channels=4, num_classes=4, **DEPTHS[space.skeleton]).double()
        self.images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
        self.alphas = {kind: torch.randn(cell.shape, dtype=torch.float64) for kind, cell in space.cells.items()}
        for kind, alpha in self.alphas.items():
            alpha[zero_mask(space)[kind]] += of_none
            alpha.requires_grad_()

    def mixtures(self, part: BinaryGates, phase: Phase = "arch") -> dict[str, Mixture]:
        now, kept, nothing = context(11, phase), candidate_mask(self.space), zero_mask(self.space)
        return {
            kind: part.mixture(masked(alpha, kept[kind]), StepContext(phase, 0, 1, now.generator, nothing[kind]))
            for kind, alpha in self.alphas.items()
        }

    def loss(self, mixtures: dict[str, Mixture]) -> Tensor:
        return F.cross_entropy(self.network(self.images, mixtures), torch.tensor([0, 1, 2]))

    def gradients(self, part: BinaryGates, *others: Tensor) -> list[Tensor]:
        loss, wanted = self.loss(self.mixtures(part)), [*self.alphas.values(), *others]
        return [loss.detach(), *torch.autograd.grad(loss, wanted, materialize_grads=True)]


@pytest.mark.parametrize("space", KNOWN.values(), ids=lambda space: space.name)
def test_what_is_held_in_memory_changes_no_value_and_no_gradient(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randn(3, 1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6))

    def same_noise(operation: Noise, like: Tensor, edges: int) -> Tensor:
        """The same on every edge: the two modes draw in another order."""
        return noise[..., : like.shape[2], : like.shape[3]].expand(-1, edges, operation.bundle.out_channels, -1, -1)

    monkeypatch.setattr(Noise, "draw", same_noise)
    case = Case(space)
    weights = list(case.network.parameters())
    found = [case.gradients(BinaryGates(mode), *weights) for mode in ("full", "full_v2")]
    for held, probed in zip(*found, strict=True):
        torch.testing.assert_close(probed, held, rtol=0, atol=1e-10)
    for gradient in found[0][1 : 1 + len(case.alphas)]:
        assert gradient.abs().max() > 1e-3
        assert gradient.sum(1).abs().max() < 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "space", [pytest.param(DARTS, marks=pytest.mark.slow), NASBench201], ids=lambda space: space.name
)
def test_the_gradient_of_alpha_is_made_of_slopes_of_the_loss(space: SearchSpace, mode: Mode) -> None:
    case, step, part = Case(space, of_none=-20.0), 1e-6, BinaryGates(mode)  # a node of zeros is at the kink of a ReLU
    mixtures = case.mixtures(part)
    gradients = dict(zip(case.alphas, case.gradients(part)[1:], strict=True))
    paths = {kind: (m.operations.detach(), (m.operations != 0).cpu()) for kind, m in mixtures.items()}
    path = {kind: Mixture(gates, active=opened) for kind, (gates, opened) in paths.items()}
    for kind, mixture in mixtures.items():
        assert mixture.active is not None
        looked_at = mixture.active if mixture.probed is None else mixture.active | mixture.probed
        rows = looked_at.sum(1).gt(1).nonzero()[:2, 0].tolist()
        assert len(rows) == 2
        for row in rows:
            slopes, columns = [], looked_at[row].nonzero()[:, 0].tolist()
            for column in columns:
                losses = []
                for way in (step, -step):
                    gates, computed = (x.clone() for x in paths[kind])
                    gates[row, column] += way
                    computed[row, column] = True
                    losses.append(case.loss({**path, kind: Mixture(gates, active=computed)}).item())
                slopes.append((losses[0] - losses[1]) / (2 * step))
            found = torch.tensor(slopes, dtype=torch.float64)
            r = case.alphas[kind].detach()[row, columns].softmax(0)
            expected = torch.zeros(looked_at.shape[1], dtype=torch.float64)
            expected[columns] = r * (found - (r * found).sum())
            check(gradients[kind][row], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("space", [DARTS, NASBench201], ids=lambda space: space.name)
def test_a_step_computes_what_it_looks_at_and_no_more(space: SearchSpace, mode: Mode) -> None:
    case = Case(space)
    ran: list[int] = []
    for module in case.network.modules():
        if isinstance(module, Operation):
            module.register_forward_pre_hook(lambda _, args: ran.append(len(args[1])))
    operations = {
        kind: sum(name != "none" for e in cell.edges for name in e.operations) for kind, cell in space.cells.items()
    }

    def edges(per_kind: dict[str, Any]) -> int:
        """Operations that all cells compute together, with their preprocessing."""
        if space.skeleton == "nasbench201":
            return 3 * int(per_kind["cell"])
        return int(per_kind["normal"]) + 2 * int(per_kind["reduce"]) + 2 * 3

    def count(mixtures: dict[str, Mixture]) -> tuple[int, int]:
        ran.clear()
        loss = case.loss(mixtures)
        forward = sum(ran)
        torch.autograd.grad(loss, list(case.alphas.values()), allow_unused=True)
        return forward, sum(ran) - forward

    part = BinaryGates(mode, skip_update_at_zero=False)
    alone = case.mixtures(part, "weights")
    seen = count(alone)
    assert seen == (edges({kind: m.operations[~zero_mask(space)[kind]].sum() for kind, m in alone.items()}), 0)
    looking = case.mixtures(part, "arch")
    opened = {kind: m.operations[~zero_mask(space)[kind]].sum() for kind, m in looking.items()}
    if mode == "two":
        pairs = {kind: (m.active & ~zero_mask(space)[kind]).sum() for kind, m in looking.items()}  # type: ignore[operator]
        assert count(looking) == (edges(pairs), 0)
    elif mode == "full":
        assert count(looking) == (edges(operations), 0)
    else:
        assert count(looking) == (edges(opened), edges(operations) - edges(opened))
