"""How a search space becomes a network."""

from robustnas.networks.auxiliary_skip import AuxiliarySkip
from robustnas.networks.config import SupernetConfig
from robustnas.networks.connection import Connection, Full, PartialChannels
from robustnas.networks.discrete import DiscreteNetwork
from robustnas.networks.mixture import Mixture, one_hot
from robustnas.networks.operations import register_operation
from robustnas.networks.resnet import ResNet
from robustnas.networks.skeleton import Skeleton
from robustnas.networks.supernet import Supernet
from robustnas.networks.widening_channels import WideningChannels

__all__ = [
    "AuxiliarySkip", "Connection", "DiscreteNetwork", "Full", "Mixture", "PartialChannels", "ResNet", "Skeleton",
    "Supernet", "SupernetConfig", "WideningChannels", "one_hot", "register_operation",
]  # fmt: skip
