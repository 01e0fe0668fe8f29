"""The Lightning data module of all data sets: roles, streams, batches, manifest."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import CombinedLoader

from robustnas.data.augmentation import Augmentation, Preparation
from robustnas.data.batch import Batch
from robustnas.data.decoding import Decoding
from robustnas.data.images import Images, Task
from robustnas.data.input_spec import InputSpec
from robustnas.data.loader import TensorLoader
from robustnas.data.remarks import log_remarks
from robustnas.data.roles import Role, SplitImages, check_roles

STREAMS: Mapping[str, tuple[Role, ...]] = {"train": ("weights", "arch")}


class ImageData(LightningDataModule, abc.ABC):
    r"""Images in memory, split into four disjoint roles.

    A subclass implements :meth:`load`. The model declares what it trains on in an attribute ``training_streams``, a
    mapping from the name of a stream to its roles: a search ``{"weights": ("weights",), "arch": ("arch",)}``, an
    evaluation ``{"train": ("weights", "arch")}``, which is the default. One stream gives
    :class:`~robustnas.data.batch.Batch`\ es, several give a mapping from name to batch, in which shorter streams are
    cycled. Validation uses the role ``selection``, testing the role ``test``.

    Images are transferred as ``uint8`` and are normalised, and in training augmented, on the device.

    Args:
        batch_size: Samples of one stream in a training batch, on each process.
        fractions: Shares of the roles weights, arch and selection in the samples that are not test. Without a share for
            selection there is no validation.
        test_fraction: Share of the images that becomes the role test, if the data set has no test part.
        augmentation: Augmentation of training images; ``None`` only normalises.
        augment_arch: Whether streams of the role arch alone are augmented too, as in the original DARTS.
        mean: Mean of each channel divided by 255; by default that of the roles weights and arch.
        std: Standard deviation of each channel, likewise.
        seed: Seed of the order of samples and of the augmentation.
        split_seed: Seed of the roles.
        eval_batch_size: Samples in a batch of validation and test; by default ``batch_size``.

    Raises:
        ValueError: If a batch size is below one, or only one of ``mean`` and ``std`` is given.
    """

    decoding: Decoding | None = None  # of image files, where the data are some

    def __init__(
        self,
        batch_size: int = 64,
        fractions: tuple[float, float, float] = (0.45, 0.45, 0.1),
        test_fraction: float = 0.2,
        augmentation: Augmentation | None = Augmentation(),
        augment_arch: bool = True,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        seed: int = 0,
        split_seed: int = 0,
        eval_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if size is not None and size < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {size}.")
        if (mean is None) != (std is None):
            raise ValueError(f"Expected `mean` and `std` to be given together, but got {mean} and {std}.")
        self.batch_size = batch_size
        self.fractions = fractions
        self.test_fraction = test_fraction
        self.augmentation = augmentation
        self.augment_arch = augment_arch
        self.mean = mean
        self.std = std
        self.seed = seed
        self.split_seed = split_seed
        self.eval_batch_size = eval_batch_size or batch_size
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a process may have no sample to evaluate
        self._said = False

    @abc.abstractmethod
    def load(self) -> tuple[Images, Images | None]:
        """Read the data set, once: the training part, from which roles are drawn, and the test part if there is one."""

    @property
    def source(self) -> str:
        """Origin of the data, for the manifest."""
        return type(self).__name__

    @cached_property
    def split(self) -> SplitImages:
        """The data and their roles, loaded at first use."""
        return SplitImages(*self.load(), self.fractions, self.test_fraction, self.split_seed)

    @property
    def task(self) -> Task:
        """Task of the targets."""
        return self.split.train.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return self.split.train.classes

    @property
    def num_classes(self) -> int:
        """Number of network outputs: classes, labels or predicted values."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.split.train.shape

    def role(self, name: Role) -> Images:
        """Copy the samples of one role, in the order of the data set."""
        return self.split.select(name)

    def loader(self, *roles: Role, training: bool = False, stream: str = "", all_samples: bool = False) -> TensorLoader:
        """Return batches of the samples with one of ``roles``, for this process or, with ``all_samples``, of all.

        In training they are full and in random order; otherwise every sample is seen once, in order. ``stream`` is the
        name of their random numbers, by default the roles.

        Raises:
            ValueError: If the test role is trained on, or the roles are unknown, empty or too small for one batch.
        """
        indices = self.split.union(*roles)
        if training and "test" in roles:
            raise ValueError(f"Expected the stream {stream!r} to train on other roles than 'test', but got {roles}.")
        trainer = None if all_samples else self.trainer
        return TensorLoader(
            self.split.part(roles[0]),
            indices,
            self.batch_size if training else self.eval_batch_size,
            shuffle=training and not getattr(trainer, "overfit_batches", 0),
            drop_last=training,
            seed=self.seed,
            stream=stream or "+".join(roles),
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )

    @cached_property
    def prepare(self) -> Preparation:
        """Makes batches of a loader ready for a network: ``prepare(batch, augment=False)``."""
        mean, std = self.mean, self.std
        if mean is None or std is None:
            mean, std = self.split.statistics()
        if len(mean) != self.image_shape[0]:
            raise ValueError(
                f"Expected `mean` and `std` to have {self.image_shape[0]} values, one for each channel, "
                f"but got {len(mean)}."
            )
        return Preparation(mean, std, self.augmentation)

    @property
    def input_spec(self) -> InputSpec:
        """What a network needs to know of the data to predict on other images; checkpoints of an evaluation hold it."""
        mean, std = (tuple(map(float, values)) for values in (self.prepare.mean, self.prepare.std))
        return InputSpec(self.image_shape, mean, std, self.classes, self.task, self.decoding)

    @cached_property
    def _described(self) -> dict[str, Any]:  # hashing all images is slow
        normalisation = {"mean": list(self.prepare.mean), "std": list(self.prepare.std)}
        return {"source": self.source, "seed": self.seed, **self.split.describe(), **normalisation}

    def describe(self) -> dict[str, Any]:
        """Description of the data for the manifest, as plain JSON values."""
        return dict(self._described)

    def prepare_data(self) -> None:
        """Load on one process of each machine, so that the others read the cache."""
        _ = self.split

    def setup(self, stage: str) -> None:
        """Load, split and check the data before training, and log remarks on them once."""
        _ = self.prepare
        processes = self.trainer.world_size if self.trainer else 1
        for role in ("selection", "test") if stage in ("test", "predict") else ("selection",):
            if 0 < (count := len(self.split.indices[role])) < processes:
                raise ValueError(
                    f"Expected the role {role} to be empty or to have a sample for each of the {processes} processes, "
                    f"but got {count}."
                )
        if self.augmentation is not None and self.augmentation.crop >= (side := min(self.image_shape[1:])):
            raise ValueError(
                f"Expected `augmentation.crop` to be below {side}, the smaller side of the images, "
                f"but got {self.augmentation.crop}."
            )
        if self.trainer is not None and not self._said:
            log_remarks(self.split)
        self._said = True

    def train_dataloader(self) -> TensorLoader | CombinedLoader:
        """One loader for each stream of the model; several are combined, with shorter ones cycled."""
        streams = self._streams()
        loaders = {name: self.loader(*roles, training=True, stream=name) for name, roles in streams.items()}
        if len(loaders) == 1:
            return next(iter(loaders.values()))
        return CombinedLoader(loaders, "max_size_cycle")

    def val_dataloader(self) -> TensorLoader | list[TensorLoader]:
        """The role selection, or no loader if it is empty."""
        return self.loader("selection") if len(self.split.indices["selection"]) else []

    def test_dataloader(self) -> TensorLoader:
        """The role test."""
        return self.loader("test")

    def predict_dataloader(self) -> TensorLoader:
        """The role test, without a metric: ``Trainer.predict`` gives its probabilities."""
        return self.loader("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move images and targets; the seed stays on the CPU, where reading it does not wait for the device."""
        if isinstance(batch, Mapping):
            return {name: self.transfer_batch_to_device(part, device, dataloader_idx) for name, part in batch.items()}
        if isinstance(batch, Batch):
            images, targets = (tensor.to(device, non_blocking=True) for tensor in batch[:2])
            return Batch(images, targets, batch.seed)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise batches, and augment them in training; images get the precision of the trainer."""
        streams = self._streams() if self.trainer and self.trainer.training else {}
        if isinstance(batch, Mapping):
            return {name: self._prepared(part, streams.get(name, ())) for name, part in batch.items()}
        return self._prepared(batch, next(iter(streams.values()), ()))

    def state_dict(self) -> dict[str, Any]:
        """Hashes of the roles, so that training is never resumed on other data."""
        return {"roles": self.split.hashes()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that training resumes with the roles of the checkpoint."""
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        check_roles(state_dict["roles"], self.split.hashes())

    def _streams(self) -> Mapping[str, tuple[Role, ...]]:
        model = self.trainer.lightning_module if self.trainer else None
        return getattr(model, "training_streams", STREAMS)

    def _prepared(self, batch: Any, roles: tuple[Role, ...]) -> Any:
        if not isinstance(batch, Batch):
            return batch
        batch = self.prepare(batch, augment=bool(roles) and (self.augment_arch or set(roles) != {"arch"}))
        if self.trainer is None:
            return batch
        return batch._replace(images=self.trainer.precision_plugin.convert_input(batch.images))
