"""What a network predicts of images, image by image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from robustnas.data.images import Task
from robustnas.data.preprocess import ImageLike, Preprocess
from robustnas.training.tasks import probabilities_of


@dataclass(frozen=True)
class Prediction:
    """The class of an image.

    Attributes:
        label: Name of the most probable class.
        index: Its index.
        probabilities: Those of all classes, in the order of ``network.classes``.
    """

    label: str
    index: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of an image: those whose probability is at least one half.

    Attributes:
        labels: Their names.
        indices: Their indices.
        probabilities: Those of all labels, in the order of ``network.classes``.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Values:
    """The values predicted of an image.

    Attributes:
        values: In the order of ``network.classes``, which are their names.
    """

    values: tuple[float, ...]


Outcome = Prediction | Labels | Values


class Predictor(Protocol):
    """What predicts: a :class:`~robustnas.inference.TrainedNetwork`."""

    preprocess: Preprocess
    classes: tuple[str, ...]
    task: Task
    training: bool

    def __call__(self, images: Tensor) -> Tensor: ...

    def train(self, mode: bool = True) -> Any: ...


def predict(network: Predictor, images: ImageLike | Sequence[ImageLike], batch_size: int = 64) -> list[Outcome]:
    """Predict the class of each image, or its labels or values, as the network was trained to.

    Args:
        network: What :func:`~robustnas.inference.load_network` returned, on any device.
        images: Paths of image files, PIL images, or tensors, ``uint8`` or in [0, 1] (see
            :class:`~robustnas.data.preprocess.Preprocess`): one, a sequence, or a batch as one tensor.
        batch_size: Images that are computed at once.

    Returns:
        A :class:`Prediction` for each image; :class:`Labels` or :class:`Values` for other tasks.

    Raises:
        ValueError: If an image cannot be read, or is not like those of training.
    """
    if batch_size < 1:
        raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}.")
    single = isinstance(images, (str, os.PathLike, Image.Image)) or (isinstance(images, Tensor) and images.dim() < 4)
    rest: Iterable[Any] = iter([images] if single else images)  # type: ignore[arg-type]
    found: list[Outcome] = []
    while batch := list(islice(rest, batch_size)):
        found += outcomes(network, probabilities(network, network.preprocess(batch)))
    return found


def probabilities(network: Predictor, inputs: Tensor) -> Tensor:
    """Probabilities (or values) of preprocessed images, ``[batch, num_classes]`` on the CPU; the mode stays."""
    training = network.training
    try:
        network.train(False)
        with torch.inference_mode():
            return probabilities_of(network.task, network(inputs)).cpu()
    finally:
        network.train(training)


def outcomes(network: Predictor, given: Tensor) -> list[Outcome]:
    """One object for each row of :func:`probabilities`."""
    rows = [tuple(row) for row in given.tolist()]
    if network.task == "regression":
        return [Values(row) for row in rows]
    if network.task == "multilabel":
        chosen = [tuple(i for i, share in enumerate(row) if share >= 0.5) for row in rows]
        return [Labels(tuple(network.classes[i] for i in of), of, row) for of, row in zip(chosen, rows, strict=True)]
    return [Prediction(network.classes[i], i, row) for i, row in zip(given.argmax(1).tolist(), rows, strict=True)]
