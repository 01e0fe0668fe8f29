"""How a search decides: one file a question, one frozen class an answer."""

from robustnas.strategies.adaptive import RaiseDecay
from robustnas.strategies.binary import BinaryGates
from robustnas.strategies.gradient import Bilevel, FirstOrder, Gradient, Step, Unrolled, UnrolledByDifferences
from robustnas.strategies.gumbel import GumbelOneHot
from robustnas.strategies.hardware import ExpectedCost
from robustnas.strategies.lots import BestOfSampled
from robustnas.strategies.moment import Moment
from robustnas.strategies.penalty import EntropyPenalty, LpSparsity, NoPenalty, Penalty
from robustnas.strategies.perturbation import AdversarialPerturbation, Perturbation, RandomPerturbation, Unperturbed
from robustnas.strategies.projection import LargestDrop
from robustnas.strategies.pruning import NoPruning, Pruning, ShareThreshold
from robustnas.strategies.relaxation import Relaxation, Softmax
from robustnas.strategies.selection import Selection, Strongest
from robustnas.strategies.sparsemax import Sparsemax
from robustnas.strategies.stopping import CurvatureRise, Never, SkipDominance, Stop, Stopping
from robustnas.strategies.uniform import UniformOneHot

__all__ = [
    "AdversarialPerturbation",
    "BestOfSampled",
    "Bilevel",
    "BinaryGates",
    "CurvatureRise",
    "EntropyPenalty",
    "ExpectedCost",
    "FirstOrder",
    "Gradient",
    "GumbelOneHot",
    "LargestDrop",
    "LpSparsity",
    "Moment",
    "Never",
    "NoPenalty",
    "NoPruning",
    "Penalty",
    "Perturbation",
    "Pruning",
    "RaiseDecay",
    "RandomPerturbation",
    "Relaxation",
    "Selection",
    "ShareThreshold",
    "SkipDominance",
    "Softmax",
    "Sparsemax",
    "Step",
    "Stop",
    "Stopping",
    "Strongest",
    "UniformOneHot",
    "Unperturbed",
    "Unrolled",
    "UnrolledByDifferences",
]
