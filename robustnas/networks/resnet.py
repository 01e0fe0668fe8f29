"""A plain residual network, the baseline that a found network has to beat (arXiv:1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.blocks import ResidualBlock
from robustnas.networks.classifier import Classifier
from robustnas.networks.config import check_depth, check_weights


class ResNet(Classifier):
    """Three stages of pre-activation residual blocks for small images.

    Args:
        channels: Channels of the first stage; each later one doubles them and halves the resolution.
        blocks: Residual blocks of a stage.
        num_classes: Outputs of the classifier.
        image_channels: Channels of the images.
    """

    shrink = 4

    def __init__(self, channels: int = 16, blocks: int = 3, num_classes: int = 10, image_channels: int = 3) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {value}.")
        check_depth("blocks", blocks)
        check_weights(channels, num_classes, lambda: ResNet(channels, blocks, num_classes, image_channels))
        width = channels
        layers: list[nn.Module] = [nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)]
        for stage in range(3):
            if stage:
                layers.append(ResidualBlock(channels, 2 * channels))
                channels *= 2
            layers += [_Block(channels) for _ in range(blocks - bool(stage))]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)
        self.num_features, self.image_channels = channels, image_channels
        self.size = {"channels": width, "blocks": blocks, "num_classes": num_classes, "image_channels": image_channels}

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Tensor:
        """Classify images, ``[batch, image_channels, h, w]`` to ``[batch, num_classes]``."""
        logits: Tensor = self.classifier(self.layers(images).mean(dim=(2, 3)))
        return logits

    def with_auxiliary(self, images: Tensor, drop_path: float = 0.0) -> tuple[Tensor, None]:
        """Logits, and none of an auxiliary head."""
        return self(images), None

    @property
    def heads(self) -> Sequence[nn.Module]:
        return [self]

    def all_maps(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return [*maps[1:-2], maps[-1]]  # not between BatchNorm and ReLU


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_a, self.bn_b = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv_a = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv_b = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_a(F.relu(self.bn_a(x)))
        outer: Tensor = x + self.conv_b(F.relu(self.bn_b(inner)))
        return outer


def channels_for(parameters: int, blocks: int = 3, num_classes: int = 10, image_channels: int = 3) -> int:
    """The width at which a :class:`ResNet` has about a given number of weights."""

    def size(channels: int) -> int:
        with torch.device("meta"):
            network = ResNet(channels, blocks, num_classes, image_channels)
        return sum(parameter.numel() for parameter in network.parameters())

    channels = next(width for width in count(2) if size(width + 1) >= parameters)
    return min((channels, channels + 1), key=lambda channels: abs(size(channels) - parameters))
