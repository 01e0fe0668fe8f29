"""How a search decides: one file a question, one frozen class an answer.

An argument out of the range that its class names raises a ``ValueError``.
"""

from robustnas.strategies.annealed import Annealed
from robustnas.strategies.arch_optimizer import Adam, ArchOptimizer
from robustnas.strategies.best_of_sampled import BestOfSampled
from robustnas.strategies.beta_decay import BetaDecay
from robustnas.strategies.binary_gates import BinaryGates
from robustnas.strategies.concrete import Concrete
from robustnas.strategies.direct import Direct
from robustnas.strategies.dirichlet_kl import DirichletKL
from robustnas.strategies.dirichlet_sample import DirichletSample
from robustnas.strategies.discretisation_loss import DiscretisationLoss
from robustnas.strategies.entmax import Entmax
from robustnas.strategies.expected_cost import ExpectedCost
from robustnas.strategies.exponentiated_gradient import ExponentiatedGradient
from robustnas.strategies.gradient import Bilevel, FirstOrder, Gradient, Step, Unrolled, UnrolledByDifferences
from robustnas.strategies.gradient_agreement import GradientAgreement
from robustnas.strategies.gumbel_one_hot import GumbelOneHot
from robustnas.strategies.keep_strongest import KeepStrongest
from robustnas.strategies.largest_drop import LargestDrop
from robustnas.strategies.layer_alignment import LayerAlignment
from robustnas.strategies.log_cost import LogCost
from robustnas.strategies.penalty import EntropyPenalty, LpSparsity, NoPenalty, Penalty
from robustnas.strategies.perturbation import AdversarialPerturbation, Perturbation, RandomPerturbation, Unperturbed
from robustnas.strategies.pruning import NoPruning, Pruning, ShareThreshold
from robustnas.strategies.raise_decay import RaiseDecay
from robustnas.strategies.relaxation import Relaxation, Softmax
from robustnas.strategies.selection import Selection, Strongest
from robustnas.strategies.sigmoid import Sigmoid
from robustnas.strategies.single_level import SingleLevel
from robustnas.strategies.sparsemax import Sparsemax
from robustnas.strategies.step_context import StepContext
from robustnas.strategies.stopping import CurvatureRise, Never, SkipDominance, Stop, Stopping
from robustnas.strategies.threshold import Threshold
from robustnas.strategies.uniform_one_hot import UniformOneHot
from robustnas.strategies.weight_hook import NoWeightHook, WeightHook
from robustnas.strategies.within_target import WithinTarget
from robustnas.strategies.zero_one import ZeroOne

__all__ = [
    "Adam", "AdversarialPerturbation", "Annealed", "ArchOptimizer", "BestOfSampled", "BetaDecay", "Bilevel",
    "BinaryGates", "Concrete", "CurvatureRise", "Direct", "DirichletKL", "DirichletSample", "DiscretisationLoss",
    "Entmax", "EntropyPenalty", "ExpectedCost", "ExponentiatedGradient", "FirstOrder", "Gradient", "GradientAgreement",
    "GumbelOneHot", "KeepStrongest", "LargestDrop", "LayerAlignment", "LogCost", "LpSparsity", "Never", "NoPenalty",
    "NoPruning", "NoWeightHook", "Penalty", "Perturbation", "Pruning", "RaiseDecay", "RandomPerturbation", "Relaxation",
    "Selection", "ShareThreshold", "Sigmoid", "SingleLevel", "SkipDominance", "Softmax", "Sparsemax", "Step",
    "StepContext", "Stop", "Stopping", "Strongest", "Threshold", "UniformOneHot", "Unperturbed", "Unrolled",
    "UnrolledByDifferences", "WeightHook", "WithinTarget", "ZeroOne",
]  # fmt: skip
