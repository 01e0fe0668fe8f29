"""A trained network with what belongs to it: preprocessing, names of classes, prediction."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from robustnas.data.images import Task
from robustnas.data.input_spec import InputSpec
from robustnas.data.preprocess import ImageLike, Preprocess
from robustnas.inference.prediction import Outcome, predict
from robustnas.networks import DiscreteNetwork, ResNet


class TrainedNetwork(nn.Module):
    """A network with trained weights, in evaluation mode.

    Attributes:
        network: The network itself, to train on, or to change its head.
        preprocess: Turns images into inputs, by the steps of training's evaluation.
        classes: Names of the outputs.
        task: What is predicted.
    """

    def __init__(self, network: DiscreteNetwork | ResNet, spec: InputSpec) -> None:
        super().__init__()
        self.network, self.preprocess = network, Preprocess(spec)
        self.classes: tuple[str, ...] = spec.classes
        self.task: Task = spec.task
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, num_classes]`` of preprocessed images ``[batch, channels, height, width]``."""
        logits: Tensor = self.network(images)
        return logits

    def forward_features(self, images: Tensor) -> Tensor:
        """The last feature map of preprocessed images, ``[batch, num_features, h, w]``."""
        return self.network.forward_features(images)

    def predict(self, images: ImageLike | Sequence[ImageLike], batch_size: int = 64) -> list[Outcome]:
        """What the network predicts of each image; see :func:`~robustnas.inference.predict`."""
        return predict(self, images, batch_size)
