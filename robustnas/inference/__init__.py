"""Trained networks in use: loading, prediction, export."""

from robustnas.inference.loading import load_genotype, load_network, load_search
from robustnas.inference.network import TrainedNetwork
from robustnas.inference.prediction import Labels, Prediction, Values, predict

__all__ = [
    "Labels", "Prediction", "TrainedNetwork", "Values", "load_genotype", "load_network", "load_search", "predict",
]  # fmt: skip
