"""What every network offers: features, feature maps and a head to exchange, as timm names them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureInfo:
    """A feature map of :meth:`Classifier.feature_maps`.

    Attributes:
        channels: Its channels.
        stride: What the size of the images is divided by.
    """

    channels: int
    stride: int


class Classifier(nn.Module, ABC):
    """A network that ends in the mean over the pixels of a feature map, and a linear layer on it."""

    num_features: int  # channels of the last feature map, which the classifier reads
    image_channels: int
    shrink: int  # what the network divides the size of images by

    @property
    @abstractmethod
    def heads(self) -> Sequence[nn.Module]:
        """The modules with a layer ``classifier``: the one that ``forward`` ends in comes first."""

    @abstractmethod
    def all_maps(self, images: Tensor) -> list[Tensor]:
        """The output of the stem and of each cell, in order, and last the map that the classifier reads."""

    def forward_features(self, images: Tensor) -> Tensor:
        """The last feature map, ``[batch, num_features, h, w]``."""
        return self.all_maps(images)[-1]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits ``[batch, num_classes]`` of the last feature map, or with ``pre_logits`` what the classifier reads."""
        pooled = features.mean(dim=(2, 3))
        logits: Tensor = pooled if pre_logits else self.get_classifier()(pooled)
        return logits

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        classifier: nn.Module = self.heads[0].classifier  # type: ignore[assignment]
        return classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer, and that of an auxiliary head, by fresh ones; 0 leaves the features as they are.

        Raises:
            ValueError: If ``num_classes`` is negative.
        """
        if num_classes < 0:
            raise ValueError(f"Expected `num_classes` to be 0 or more, but got {num_classes}.")
        like = next(self.parameters())
        for head in self.heads:
            width = self.num_features if head is self.heads[0] else int(head.width)  # type: ignore[arg-type]
            fresh = nn.Linear(width, num_classes) if num_classes else nn.Identity()
            head.classifier = fresh.to(like.device, like.dtype)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the deepest feature map of each resolution, the finest first, ``[batch, channels, h, w]`` each.

        The last one is that of :meth:`forward_features`; :attr:`feature_info` has their channels and strides.
        """
        deepest: dict[int, Tensor] = {}
        for one in self.all_maps(images):
            deepest[one.shape[-1]] = one
        return list(deepest.values())

    @property
    def feature_info(self) -> list[FeatureInfo]:
        """Channels and strides of :meth:`feature_maps`, found by computing them once."""
        like, side, training = next(self.parameters()), 4 * self.shrink, self.training
        with torch.no_grad():
            try:
                maps = self.eval().feature_maps(like.new_zeros(1, self.image_channels, side, side))
            finally:
                self.train(training)
        return [FeatureInfo(one.shape[1], side // one.shape[-1]) for one in maps]
