"""How a search space becomes a network."""

from robustnas.networks.mixture import Mixture, one_hot
from robustnas.networks.operations import register_operation
from robustnas.networks.supernet import Supernet

__all__ = ["Mixture", "Supernet", "one_hot", "register_operation"]
