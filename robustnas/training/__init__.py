"""The search and the evaluation as Lightning modules."""

from robustnas.training.architecture import Architecture, Found, ResNet
from robustnas.training.description import load
from robustnas.training.evaluation import EvaluationModule
from robustnas.training.lightning.flat_strategy import FlatStrategy
from robustnas.training.module import Module
from robustnas.training.search import SearchModule

__all__ = ["Architecture", "EvaluationModule", "FlatStrategy", "Found", "Module", "ResNet", "SearchModule", "load"]
