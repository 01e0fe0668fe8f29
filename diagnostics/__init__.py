"""Callbacks that look at a search and never touch it."""

from robustnas.diagnostics.alpha import AlphaShares
from robustnas.diagnostics.budget import Budget
from robustnas.diagnostics.diagnostic import Diagnostic
from robustnas.diagnostics.generalisation import GeneralisationGap
from robustnas.diagnostics.genotype import GenotypeChurn
from robustnas.diagnostics.probe import Probe
from robustnas.diagnostics.suite import Diagnostics, everything
from robustnas.diagnostics.untouched import untouched

__all__ = [
    "AlphaShares",
    "Budget",
    "Diagnostic",
    "Diagnostics",
    "GeneralisationGap",
    "GenotypeChurn",
    "Probe",
    "everything",
    "untouched",
]
