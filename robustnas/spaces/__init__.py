"""Search spaces and genotypes, as plain data."""

from robustnas.spaces.connectivity import live_choices
from robustnas.spaces.darts import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    DARTSAllEdges,
    DARTSAnyEdges,
    DARTSFewerEdges,
    DARTSSingleCell,
    DARTSSingleCellWithoutSkip,
    DARTSWithoutNone,
    DARTSWithoutSkip,
    darts_like,
)
from robustnas.spaces.discretisation import strongest
from robustnas.spaces.encoding import decode, encode, num_architectures
from robustnas.spaces.find import find_space
from robustnas.spaces.genotype import Choice, Genotype
from robustnas.spaces.genotype_text import is_genotype_text, parse_genotype
from robustnas.spaces.mobile import Mobile, MobileSmall, mobile
from robustnas.spaces.nasbench201 import NASBench201, NASBench201SkipConv
from robustnas.spaces.sampling import mutated, random_genotype, weighted_genotype
from robustnas.spaces.space import CellSpace, Edge, SearchSpace, SkeletonRules, complete_cell, register_skeleton

__all__ = [
    "DARTS", "S1", "S2", "S3", "S4", "CellSpace", "Choice", "DARTSAllEdges", "DARTSAnyEdges", "DARTSFewerEdges",
    "DARTSSingleCell", "DARTSSingleCellWithoutSkip", "DARTSWithoutNone", "DARTSWithoutSkip", "Edge", "Genotype",
    "Mobile", "MobileSmall", "NASBench201", "NASBench201SkipConv", "SearchSpace", "SkeletonRules", "complete_cell",
    "darts_like", "decode", "encode", "find_space", "is_genotype_text", "live_choices", "mobile", "mutated",
    "num_architectures", "parse_genotype", "random_genotype", "register_skeleton", "strongest", "weighted_genotype",
]  # fmt: skip
