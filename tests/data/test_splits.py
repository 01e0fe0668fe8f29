"""Roles are disjoint, stratified, of the wanted sizes, and depend on the seed alone."""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch
from tables import check_each

from robustnas.data.roles import ROLES, index_hash, split_roles

FRACTIONS = (0.45, 0.45, 0.1)


@pytest.mark.parametrize("count", [97, 1000])
@pytest.mark.parametrize("stratify", [True, False])
def test_roles_are_disjoint_and_cover_everything(count, stratify):
    labels = torch.arange(count) % 7 if stratify else None
    roles = split_roles(count, FRACTIONS, 3, labels, test_fraction=0.2)
    assert tuple(roles) == ROLES
    together = torch.cat(list(roles.values()))
    assert together.sort().values.tolist() == list(range(count))
    for indices in roles.values():
        assert indices.dtype == torch.int64
        assert indices.tolist() == sorted(indices.tolist())


def test_sizes_are_the_fractions_of_what_is_not_test():
    sizes = {role: len(indices) for role, indices in split_roles(1000, FRACTIONS, 0, None, 0.2).items()}
    assert sizes == {"weights": 360, "arch": 360, "selection": 80, "test": 200}


def test_without_a_test_fraction_the_test_role_is_empty():
    roles = split_roles(100, FRACTIONS, 0)
    assert [len(roles[role]) for role in ROLES] == [45, 45, 10, 0]


def test_fractions_below_one_leave_samples_unused():
    roles = split_roles(1000, (0.1, 0.2, 0.05), 0)
    assert [len(roles[role]) for role in ROLES] == [100, 200, 50, 0]


def test_every_class_is_shared_out_in_the_same_proportions():
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate([300, 41, 7, 152])])
    labels = labels[torch.randperm(500)]
    roles = split_roles(500, FRACTIONS, 1, labels, 0.2)
    shares = {"weights": 0.36, "arch": 0.36, "selection": 0.08, "test": 0.2}
    for role, share in shares.items():
        counts = labels[roles[role]].bincount(minlength=4)
        assert (counts - share * labels.bincount()).abs().max() <= 2
        assert abs(len(roles[role]) - share * 500) <= 2


def test_many_tiny_classes_do_not_all_go_to_one_role():
    labels = torch.arange(200).repeat_interleave(1)  # one sample a class: rounding must be carried over
    roles = split_roles(200, (0.5, 0.5, 0.0), 0, labels)
    assert [len(roles[role]) for role in ROLES] == [100, 100, 0, 0]


def test_the_split_depends_on_its_seed_alone():
    labels = torch.arange(300) % 10
    torch.manual_seed(1)
    first = split_roles(300, FRACTIONS, 5, labels, 0.2)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = split_roles(300, FRACTIONS, 5, labels, 0.2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[role], second[role]) for role in ROLES)
    other = split_roles(300, FRACTIONS, 6, labels, 0.2)
    assert all(not torch.equal(first[role], other[role]) for role in ROLES)


def test_other_fractions_leave_the_test_set_as_it_is():
    labels = torch.arange(300) % 10
    first = split_roles(300, FRACTIONS, 5, labels, 0.2)["test"]
    assert torch.equal(first, split_roles(300, (0.9, 0.0, 0.1), 5, labels, 0.2)["test"])


def test_index_hash_is_sha256_of_sorted_little_endian_int64():
    expected = hashlib.sha256(struct.pack("<3q", 2, 5, 9)).hexdigest()
    assert index_hash(torch.tensor([9, 2, 5])) == expected
    assert index_hash(torch.tensor([9, 2, 6])) != expected


def test_the_split_does_not_change_between_versions():
    roles = split_roles(50, FRACTIONS, 0, torch.arange(50) % 5, 0.2)
    assert roles["selection"].tolist() == [3, 5, 9, 26]


def test_impossible_splits_are_refused():
    rows = [
        ((0.5, 0.6, 0.1), 0.0, r"Expected `fractions` .* at most one, but got \(0.5, 0.6, 0.1\)"),
        ((0.5, -0.1, 0.1), 0.0, "Expected `fractions`"),
        ((0.5, float("nan"), 0.1), 0.0, "Expected `fractions`"),
        ((0.0, 0.5, 0.5), 0.0, "'weights' a share above zero"),
        ((0.5, 0.5, 0.0), 1.0, "Expected `test_fraction` to be at least 0 and below 1, but got 1.0"),
        ((0.5, 0.4, 0.1), 0.5, "Expected `fractions` to give the role 'selection' at least one of 6 samples"),
        ((0.5, 0.5, 0.0), 0.01, "Expected `test_fraction` to give the role 'test' at least one of 6 samples"),
    ]

    def check(row):
        fractions, test_fraction, message = row
        with pytest.raises(ValueError, match=message):
            split_roles(6, fractions, 0, None, test_fraction)

    check_each(rows, check)
