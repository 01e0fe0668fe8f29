"""Products with the Hessian of α's loss, and its dominant eigenvalue, are those of the original."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from golden import check, golden, part, tolerance
from matrices import Counted
from pytorch_lightning import Callback, Trainer
from robustnas.variants import DARTS
from torch import Tensor, nn

from robustnas.curvature import Hessian, extremes
from robustnas.curvature.spectrum import row_blocks
from robustnas.data import Batch
from robustnas.networks import Mixture, Supernet
from robustnas.spaces import find_space
from robustnas.training.curvature import last_batch_eigenvalue

CASES = {"hessian_s1": "S1", "hessian_s2": "S2", "hessian_darts": "DARTS"}
SAMPLED = [pytest.param(name, marks=[] if name == "hessian_s2" else pytest.mark.slow) for name in CASES]
DECAY = 1e-3  # weight decay of α, which the original counts in


@cache
def hessian(name: str) -> tuple[Counted, Tensor, dict[str, Any], dict[str, Any]]:
    """The Hessian of a case, α in one vector, the reference values and their description."""
    arrays, meta = golden(name)
    assert meta["hyperparameters"] == {"arch_weight_decay": DECAY}
    network = Supernet(find_space(CASES[name]), meta["C"], layers=meta["layers"]).double()
    network.load_edgewise_state_dict(part(arrays, "w/"))
    alphas = {kind: arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in ("normal", "reduce")}
    logits = network(arrays["x_val"], {kind: Mixture(alpha.softmax(dim=1)) for kind, alpha in alphas.items()})
    loss = nn.functional.cross_entropy(logits, arrays["y_val"])
    check(loss, arrays["out/loss_val"])
    alpha = torch.cat([alpha.detach().reshape(-1) for alpha in alphas.values()])
    return Counted(loss, list(alphas.values())), alpha, arrays, meta


@pytest.mark.parametrize("name", SAMPLED)
def test_the_gradient_is_that_of_the_original(name: str) -> None:
    found, alpha, arrays, meta = hessian(name)
    check(found.gradient + DECAY * alpha, arrays["out/gradient"], **tolerance(meta, "out/gradient"))


@pytest.mark.parametrize("name", SAMPLED[:2])
def test_the_whole_hessian_and_its_eigenvalues_are_those_of_the_original(name: str) -> None:
    found, _, arrays, meta = hessian(name)
    whole = found.dense() + DECAY * torch.eye(found.size)
    check(whole, arrays["out/hessian"], **tolerance(meta, "out/hessian"))
    check(torch.linalg.eigvalsh(whole), arrays["out/eigenvalues"], **tolerance(meta, "out/eigenvalues"))
    # Adding the same number to all α of an edge changes no mixture: one null direction for each of the 28 edges.
    rows = torch.eye(28).repeat_interleave(2, dim=1).double() / 2**0.5
    check((whole @ rows.T), DECAY * rows.T, rtol=0, atol=1e-10)
    assert int(((torch.linalg.eigvalsh(whole) - DECAY).abs() < 1e-9).sum()) >= 28


@pytest.mark.slow
def test_products_are_those_of_the_original_in_the_space_of_224_alphas() -> None:
    """The whole matrix takes 224 products; no error in it survives three in random directions."""
    found, _, arrays, meta = hessian("hessian_darts")
    assert found.size == 224
    expected = arrays["out/hessian"] - DECAY * torch.eye(224)
    for row in (0, 100, 223):
        check(found.product(torch.eye(224)[row].double()), expected[row], **tolerance(meta, "out/hessian"))
    for _ in range(3):
        vector = torch.randn(224).double()
        check(found.product(vector), expected @ vector, rtol=1e-7, atol=1e-8)
    edge = torch.zeros(28, 8).double()
    edge[17] = 1
    check(found.product(edge.reshape(-1)), torch.zeros(224).double(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SAMPLED)
def test_the_tracked_quantity_is_that_of_the_original_in_few_products(name: str) -> None:
    found, _, arrays, _ = hessian(name)
    found.count = 0
    value = found.dominant_eigenvalue() + DECAY
    assert value == pytest.approx(float(arrays["out/eig_max"]), rel=1e-3)
    assert found.count <= 15
    assert found.dominant_eigenvalue() + DECAY == value  # a function of loss and α alone


def test_both_ends_of_the_spectrum_are_those_of_the_original() -> None:
    found, _, arrays, _ = hessian("hessian_s1")
    expected = arrays["out/eigenvalues"].sort().values - DECAY
    largest, smallest = extremes(found, 4, 4)
    assert largest.products < found.size
    for pairs, values in ((largest, expected.flip(0)[:4]), (smallest, expected[:4])):
        assert ((pairs.values - values).abs() <= pairs.errors).all()
        assert torch.allclose(pairs.values, values, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["hessian_s1", pytest.param("hessian_darts", marks=pytest.mark.slow)])
def test_kinds_of_cells_and_edges_are_blocks_of_the_original(name: str) -> None:
    found, _, arrays, _ = hessian(name)
    whole = arrays["out/hessian"] - DECAY * torch.eye(found.size).double()
    half = found.size // 2
    largest = extremes(found.part(1))[0]
    assert float(largest.values) == pytest.approx(float(torch.linalg.eigvalsh(whole[half:, half:])[-1]), rel=1e-3)
    assert largest.products <= 15
    width = found.shapes[0][1]
    edge = slice(half + 5 * width, half + 6 * width)
    check(found.row(1, 5).dense(), whole[edge, edge], rtol=1e-7, atol=1e-9)
    normal, reduce = row_blocks(whole, found.shapes)
    assert normal.shape == reduce.shape == (14, width, width)
    assert torch.equal(reduce[5], whole[edge, edge])


def test_products_are_finite_differences_of_the_gradient() -> None:
    first, second = torch.randn(3, 4).double().requires_grad_(), torch.randn(5).double().requires_grad_()

    def loss() -> Tensor:
        return (first.softmax(1).prod(0).sum() * second.tanh()).sum() + (second**3).sum() * first[1, 2]

    def gradient() -> Tensor:
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss(), [first, second])])

    found = Hessian(loss(), [first, second])
    assert found.size == 17
    for _ in range(3):
        vector = torch.randn(17).double()
        product = found.product(vector)
        ends = []
        for sign in (1, -1):
            step = sign * 1e-5 * vector
            first.data += step[:12].view(3, 4)
            second.data += step[12:]
            ends.append(gradient())
            first.data -= step[:12].view(3, 4)
            second.data -= step[12:]
        check(product, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "loss",
    [lambda x: x.sum() * 0, lambda x: x.sum() * 3, lambda x: torch.tensor(2.0), lambda x: (y := x + 0).sum() - y.sum()],
    ids=["zero", "linear", "constant", "cancelled"],
)
def test_a_loss_without_curvature(loss: Any) -> None:
    x = torch.randn(6).requires_grad_()
    found = Hessian(loss(x), [x])
    assert found.dominant_eigenvalue() == 0.0
    assert torch.equal(found.dense(), torch.zeros(6, 6))


def test_parameters_that_the_loss_ignores_count_as_zeros() -> None:
    x, ignored = torch.tensor([2.0, 3.0]).requires_grad_(), torch.zeros(2).requires_grad_()
    found = Hessian((x**3).sum(), [ignored, x])
    assert torch.equal(found.dense(), torch.tensor([0.0, 0.0, 12.0, 18.0]).diag())
    assert torch.equal(found.gradient, torch.tensor([0.0, 0.0, 12.0, 27.0]))
    assert not found.gradient.requires_grad


def test_a_curvature_that_is_not_finite_is_said_so() -> None:
    x = torch.tensor([1e-20, 1.0]).requires_grad_()
    assert np.isnan(Hessian((x**-2).sum(), [x]).dominant_eigenvalue())


def test_what_is_no_loss_is_refused() -> None:
    x = torch.ones(2).requires_grad_()
    with pytest.raises(ValueError, match=r"Expected `loss` to be a scalar, but got the shape \(2,\)\."):
        Hessian(x * x, [x])
    with pytest.raises(ValueError, match=r"Expected `parameters` to hold at least one tensor, but got none\."):
        Hessian(x.sum(), [])


def test_weight_decay_is_counted_in_only_where_it_is_asked_for() -> None:
    x = torch.tensor([2.0, -3.0]).requires_grad_()
    found = Hessian((x**3).sum(), [x], decay=0.5)
    assert torch.equal(found.dense(), torch.tensor([12.5, -17.5]).diag())
    assert torch.equal(found.gradient, torch.tensor([13.0, 25.5]))
    assert torch.equal(Hessian((x**3).sum(), [x]).dense(), torch.tensor([12.0, -18.0]).diag())
    flat = Hessian(x.sum() * 3, [x], decay=0.5)
    assert torch.equal(flat.dense(), 0.5 * torch.eye(2))
    assert flat.dominant_eigenvalue() == pytest.approx(0.5)


class Look(Callback):
    """Measures the curvature after the first step, and what that leaves behind."""

    def on_train_batch_end(self, trainer: Trainer, module: DARTS, outputs: Any, batch: Any, batch_idx: int) -> None:
        def everything() -> dict[str, Any]:
            state = {name: value.clone() for name, value in module.state_dict().items()}
            state |= {f"slope of {name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
            return state | {"random numbers": torch.get_rng_state()}

        before, modes = everything(), [part.training for part in module.modules()]
        self.value, _ = last_batch_eigenvalue(module, batch["arch"])
        after = everything()
        assert before.keys() == after.keys()
        assert [name for name in before if not torch.equal(before[name], after[name])] == []
        assert modes == [part.training for part in module.modules()]
        assert all(part.track_running_stats for part in module.modules() if isinstance(part, nn.BatchNorm2d))
        self.expected = self.directly(module, batch["arch"])

    def directly(self, module: DARTS, batch: Batch) -> float:
        """The same by the whole matrix, through another way of the graph."""

        def loss(alpha: Tensor) -> Tensor:
            logits = module.supernet(batch.images, {"cell": Mixture(alpha.softmax(1))})
            return nn.functional.cross_entropy(logits, batch.targets)

        alpha = module.alphas["cell"].detach()
        whole = torch.autograd.functional.hessian(loss, alpha).reshape(alpha.numel(), -1)
        return float(torch.linalg.eigvalsh(whole).max()) + module.arch_weight_decay


def test_a_search_measures_it_without_leaving_a_trace(tmp_path) -> None:
    from robustnas.data import Digits

    look = Look()
    module = DARTS(space="NASBench201", channels=4, cells=1, image_channels=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
        callbacks=[look],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, Digits(batch_size=16, fractions=(0.06, 0.04, 0.04)))
    assert look.value == pytest.approx(look.expected, rel=2e-3)
    assert look.value > module.arch_weight_decay
