"""The cells of NAS-Bench-201 that compute different functions: 4,954 of 15,625.

Two cells are the same if one becomes the other by these steps, none of which changes what the network computes:

- an edge with `none`, or one that leaves a node without a path from the input, is removed; a convolution of zeros is
  taken for zeros, though its BatchNorm may learn an offset;
- an operation that no path to the output uses is removed;
- skip connections are substituted: a node is a sum of convolutions, pooled convolutions and the input;
- average pooling, which is linear, is moved inside sums;
- a convolution of a multiple of a sum is one of the sum itself, since BatchNorm follows it (up to its epsilon);
- convolutions change names, but two of them never become one: each has weights of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import permutations
from math import gcd

from robustnas.spaces import Genotype, NASBench201, decode, num_architectures

INPUT = -1
Term = tuple[int, int]  # how often pooled, and the convolution, a number or INPUT
Sum = Counter[Term]
Form = tuple[object, ...]
COST = {"none": 0, "skip_connect": 1, "nor_conv_1x1": 3, "avg_pool_3x3": 4, "nor_conv_3x3": 8}


@dataclass(frozen=True)
class Convolution:
    """A convolution of a cell: its operation and the sum that it is applied to."""

    operation: str
    input: Sum


def canonical_form(genotype: Genotype) -> Form:
    """A value that is equal for two cells if and only if the steps above lead from one to the other."""
    output, convolutions = _expand(genotype)
    used = sorted(_used(output, convolutions))
    forms = (
        _form(output, convolutions, {INPUT: INPUT, **dict(zip(used, order, strict=True))})
        for order in permutations(range(len(used)))
    )
    return min(forms)


def representatives() -> list[int]:
    """For each cell, by its number, the number of the cell that stands for its function: the one with least to compute.

    The representative of all cells with the same function is the same.
    """
    cells = [decode(number, NASBench201) for number in range(num_architectures(NASBench201))]
    forms = [canonical_form(cell) for cell in cells]
    costs = [sum(COST[choice.operation] for choice in cell.cells["cell"]) for cell in cells]
    found: dict[Form, int] = {}
    for number, form in enumerate(forms):
        if form not in found or costs[number] < costs[found[form]]:
            found[form] = number
    return [found[form] for form in forms]


def _expand(genotype: Genotype) -> tuple[Sum, dict[int, Convolution]]:
    """The output as a sum of terms, and every convolution by the place of its edge."""
    nodes: dict[int, Sum] = {0: Counter({(0, INPUT): 1})}
    convolutions: dict[int, Convolution] = {}
    for place, (source, node, operation) in enumerate(genotype.cells["cell"]):
        entering, total = nodes[source], nodes.setdefault(node, Counter())
        if operation == "none" or not entering:
            continue
        if operation == "skip_connect":
            total.update(entering)
        elif operation == "avg_pool_3x3":
            total.update({(pooled + 1, name): count for (pooled, name), count in entering.items()})
        else:
            convolutions[place] = Convolution(operation, entering)
            total[0, place] += 1
    return nodes[max(nodes)], convolutions


def _used(total: Sum, convolutions: Mapping[int, Convolution]) -> set[int]:
    names = {name for _, name in total if name != INPUT}
    return names.union(*(_used(convolutions[name].input, convolutions) for name in names))


def _form(output: Sum, convolutions: Mapping[int, Convolution], names: Mapping[int, int]) -> Form:
    used = sorted((new, old) for old, new in names.items() if old != INPUT)
    inputs = tuple((convolutions[old].operation, _terms(convolutions[old].input, names, True)) for _, old in used)
    return _terms(output, names, False), inputs


def _terms(total: Sum, names: Mapping[int, int], scale_free: bool) -> tuple[tuple[int, int, int], ...]:
    scale = reduce(gcd, total.values()) if scale_free else 1
    return tuple(sorted((pooled, names[name], count // scale) for (pooled, name), count in total.items()))
