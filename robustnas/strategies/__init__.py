"""How a search decides: one file a question, one frozen class an answer."""

from robustnas.strategies.gradient import Bilevel, FirstOrder, Gradient, Step, Unrolled, UnrolledByDifferences
from robustnas.strategies.moment import Moment
from robustnas.strategies.perturbation import Perturbation, Unperturbed
from robustnas.strategies.relaxation import Relaxation, Softmax
from robustnas.strategies.selection import Selection, Strongest

__all__ = [
    "Bilevel",
    "FirstOrder",
    "Gradient",
    "Moment",
    "Perturbation",
    "Relaxation",
    "Selection",
    "Softmax",
    "Step",
    "Strongest",
    "Unperturbed",
    "Unrolled",
    "UnrolledByDifferences",
]
