"""Protects genotypes as dimensions: each genotype of a space has values, and each choice of values is a genotype."""

from __future__ import annotations

import math
from random import Random

import pytest

from robustnas.spaces import DARTS, S1, MobileSmall, NASBench201, SearchSpace, num_architectures, random_genotype
from robustnas.tuning.dimensions import Choices
from robustnas.tuning.genotypes import genotype_dimensions, genotype_of, values_of


@pytest.mark.parametrize("space", [NASBench201, DARTS, S1, MobileSmall], ids=lambda space: space.name)
def test_a_genotype_comes_back_from_its_values(space: SearchSpace) -> None:
    dimensions, generator = genotype_dimensions(space), Random(0)
    for _ in range(20):
        genotype = random_genotype(space, generator)
        values = values_of(space, genotype)
        assert set(values) == set(dimensions)
        assert all(dimension.find(values[name]) == values[name] for name, dimension in dimensions.items())
        assert genotype_of(space, values) == genotype


def test_the_choices_of_nasbench201_are_its_architectures() -> None:
    dimensions = genotype_dimensions(NASBench201)
    sizes = [len(one.options) for one in dimensions.values() if isinstance(one, Choices)]
    assert math.prod(sizes) == num_architectures(NASBench201) == 15_625
    assert list(dimensions)[:2] == ["genotype.cell.0-1", "genotype.cell.0-2"]


def test_every_choice_of_darts_is_a_genotype() -> None:
    dimensions, generator = genotype_dimensions(DARTS), Random(1)
    for _ in range(20):
        values = {name: generator.choice(one.examples()) for name, one in dimensions.items()}
        assert values_of(DARTS, genotype_of(DARTS, values)).keys() == values.keys()
