"""What a search and an evaluation share: checks before they start, a record, a checkpoint that describes itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule
from torch import Tensor
from typing_extensions import Self

from robustnas.data import Role
from robustnas.training.checks import Finite, check_fit
from robustnas.training.description import KEY, describe, load
from robustnas.training.recorder import RunRecorder


class Module(LightningModule, ABC):
    """A search or an evaluation.

    Args:
        arguments: What the constructor of the subclass was called with, its ``locals()``.

    Attributes:
        description: Class and arguments as plain data, which every checkpoint carries.
        training_streams: Name of each stream of training batches to the roles it draws from.
    """

    training_streams: Mapping[str, tuple[Role, ...]]

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        given = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
        self.description = describe(self, given)
        self.finite = Finite()

    @abstractmethod
    def check_images(self, images: Tensor) -> None:
        """Refuse images that the network cannot take.

        Args:
            images: ``[batch, channels, h, w]``; only the shape counts.

        Raises:
            ValueError: If they have other channels, or are too small.
        """

    def check_loss(self, name: str, loss: Tensor) -> None:
        """Stop the run at a loss that is not finite.

        Args:
            name: Which loss, for the error.
            loss: A scalar.
        """
        self.finite.check(name, loss, self.global_step, self.current_epoch, self.trainer.is_last_batch)

    def setup(self, stage: str) -> None:
        check_fit(self, self.trainer, stage)

    def configure_callbacks(self) -> list[Callback]:
        """A run leaves its record, whoever starts it."""
        return [RunRecorder()]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {"module": self.description}

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **_: Any) -> Self:  # type: ignore[override]
        """The module that a checkpoint holds, with its weights, on the CPU; nothing in the file is executed.

        Args:
            checkpoint_path: The checkpoint.

        Returns:
            A module of this class or a subclass.

        Raises:
            ValueError: If the file is missing, no checkpoint of this library, or of another class.
        """
        return load(checkpoint_path, cls)
