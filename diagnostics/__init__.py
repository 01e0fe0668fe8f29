"""Callbacks that look at a search and never touch it."""

from robustnas.diagnostics.alignment import LayerAlignment
from robustnas.diagnostics.alpha import AlphaShares
from robustnas.diagnostics.arch_gradient import ArchGradient
from robustnas.diagnostics.budget import Budget
from robustnas.diagnostics.cost import GenotypeCost
from robustnas.diagnostics.curvature import Curvature
from robustnas.diagnostics.diagnostic import Diagnostic, preserve_state
from robustnas.diagnostics.gap import DiscretisationGap
from robustnas.diagnostics.generalisation import GeneralisationGap
from robustnas.diagnostics.genotype import GenotypeChurn
from robustnas.diagnostics.gradient_match import GradientMatch
from robustnas.diagnostics.implicit import ImplicitShare
from robustnas.diagnostics.live_plot import LivePlot
from robustnas.diagnostics.ranking import SupernetRanking
from robustnas.diagnostics.suite import Diagnostics, default_diagnostics
from robustnas.diagnostics.truth import TrueAccuracy
from robustnas.diagnostics.view import LoggerView

__all__ = [
    "AlphaShares", "ArchGradient", "Budget", "Curvature", "Diagnostic", "Diagnostics", "DiscretisationGap",
    "GeneralisationGap", "GenotypeChurn", "GenotypeCost", "GradientMatch", "ImplicitShare", "LayerAlignment",
    "LivePlot", "LoggerView", "SupernetRanking", "TrueAccuracy", "default_diagnostics", "preserve_state",
]  # fmt: skip
