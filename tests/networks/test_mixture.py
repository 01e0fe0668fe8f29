"""The record between strategies and networks."""

from __future__ import annotations

import pytest
import torch
from tables import check_each

from robustnas.networks import Mixture, one_hot
from robustnas.spaces import DARTS

CELL = DARTS.cells["normal"]


def test_edge_weights_multiply_rows() -> None:
    operations, edges = torch.rand(14, 8), torch.rand(14)
    assert torch.equal(Mixture(operations, edges).weights(), edges[:, None] * operations)
    assert Mixture(operations).weights() is operations


def test_one_hot_weighs_and_computes_the_chosen_only() -> None:
    mixture = one_hot(CELL, {0: 3, 13: 7}, like=torch.zeros(1, dtype=torch.float64))
    assert mixture.operations.dtype == torch.float64
    assert mixture.operations.nonzero().tolist() == [[0, 3], [13, 7]]
    assert mixture.operations.sum() == 2
    assert mixture.active is not None
    assert mixture.active.nonzero().tolist() == [[0, 3], [13, 7]]


def test_a_detached_mixture_is_cut_from_its_graph() -> None:
    operations, edges = torch.rand(14, 8, requires_grad=True), torch.rand(14, requires_grad=True)
    active = torch.ones(14, 8, dtype=torch.bool)
    detached = Mixture(operations, edges, active).detach()
    assert torch.equal(detached.weights(), Mixture(operations, edges).weights())
    assert not detached.weights().requires_grad
    assert detached.active is active
    assert Mixture(operations).detach().edges is None
    assert Mixture(operations).detach().offsets is None
    offsets = Mixture(operations, offsets=edges).detach().offsets
    assert offsets is not None
    assert torch.equal(offsets, edges)
    assert not offsets.requires_grad


def test_what_is_probed_is_restricted_too_and_gone_where_nothing_is_derived() -> None:
    active = torch.eye(14, 8, dtype=torch.bool)
    mixture = Mixture(torch.rand(14, 8), active=active, probed=~active)
    kept = torch.rand(14, 8) < 0.5
    restricted = mixture.restricted(kept)
    assert restricted.active is not None
    assert restricted.probed is not None
    assert torch.equal(restricted.active, active & kept)
    assert torch.equal(restricted.probed, ~active & kept)
    assert mixture.detach().probed is None
    assert mixture.validate("normal", CELL) is mixture


def test_edge_weights_multiply_offsets() -> None:
    operations, edges, offsets = torch.rand(14, 8), torch.rand(14), torch.rand(14)
    assert Mixture(operations, edges).shifts() is None
    assert Mixture(operations, offsets=offsets).shifts() is offsets
    assert torch.equal(Mixture(operations, edges, offsets=offsets).shifts(), offsets * edges)


def test_shapes_are_checked() -> None:
    def check(mixture: Mixture, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            mixture.validate("normal", CELL)

    check_each(
        [
            (
                Mixture(torch.rand(14, 7)),
                r"`operations` of the mixture 'normal' to have shape \(14, 8\), but got \(14, 7\)",
            ),
            (Mixture(torch.rand(14, 8), torch.rand(14, 1)), r"`edges` .* shape \(14,\), but got \(14, 1\)"),
            (Mixture(torch.rand(14, 8), offsets=torch.ones(8)), r"`offsets` .* shape \(14,\), but got \(8,\)"),
            (Mixture(torch.rand(14, 8), active=torch.ones(8)), r"`active` .* shape \(14, 8\), but got \(8,\)"),
            (Mixture(torch.rand(14, 8), probed=torch.ones(8)), r"`probed` .* shape \(14, 8\), but got \(8,\)"),
            (
                Mixture(torch.rand(14, 8), active=torch.ones(14, 8).bool(), probed=torch.eye(14, 8).bool()),
                "`probed` of the mixture 'normal' to hold no operation that is computed",
            ),
            (
                Mixture(torch.rand(14, 8), probed=torch.eye(14, 8).bool()),
                "`probed` .* to hold no operation that is comp",
            ),
        ],
        lambda row: check(*row),
    )


def test_a_fitting_mixture_passes() -> None:
    mixture = Mixture(torch.rand(14, 8), torch.rand(14), torch.ones(14, 8, dtype=torch.bool))
    assert mixture.validate("normal", CELL) is mixture
