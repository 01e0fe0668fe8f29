"""The discrete network of a genotype, trained from scratch to evaluate it."""

from __future__ import annotations

from torch import Tensor

from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Form
from robustnas.networks.cell import Candidate, CellOptions
from robustnas.networks.edgewise import Edgewise
from robustnas.networks.supernet import build_skeleton, in_format
from robustnas.spaces import Genotype, SearchSpace, find_space


class DiscreteNetwork(Edgewise):
    """The network a genotype stands for: only its edges, each with its one operation and weight one.

    BatchNorm is affine everywhere and does not follow pooling. With ``drop_path``, the output of an operation
    that is not an identity is dropped for a sample, and the others are scaled up. A supernet of the same size hands its
    weights down by ``network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)``.

    Args:
        space: The search space or its name.
        genotype: The architecture.
        channels: Channels of the first cells (36 for CIFAR-10, 48 for ImageNet in the DARTS paper), or of the first
            convolution in mobile spaces (32 in the ProxylessNAS paper).
        layers: Number of cells, in spaces with the DARTS skeleton (default 8).
        cells: Cells of each of the three stages, in NAS-Bench-201 (default 5).
        num_classes: Outputs of the classifier.
        image_channels: Channels of the images.
        stem: ``cifar``, or ``imagenet`` for large images (DARTS and mobile skeletons only).
        auxiliary: Whether an auxiliary head looks at the cell at two thirds of the depth.
        form: How separable convolutions are computed: ``separable``, ``dense``, or ``auto`` by device,
            precision and channels.
        channels_last: Memory format of the images; ``None`` chooses what is fast on the device.
        checkpointing: Whether activations of cells are computed again in the backward pass, to save memory.

    Raises:
        ValueError: If the genotype is not one of the space, or an argument does not fit it.
    """

    def __init__(
        self,
        space: SearchSpace | str,
        genotype: Genotype,
        channels: int = 36,
        layers: int | None = None,
        cells: int | None = None,
        num_classes: int = 10,
        image_channels: int = 3,
        stem: Stem = "cifar",
        auxiliary: bool = False,
        form: Form = "auto",
        channels_last: bool | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.space = find_space(space)
        self.genotype = genotype.validate(self.space)
        self.form, self.channels_last = form, channels_last
        options = CellOptions(affine=True, pool_norm=False, form=form)
        candidates = {
            kind: [Candidate(row, 0, *choice) for row, choice in enumerate(choices)]
            for kind, choices in genotype.cells.items()
        }
        self.body = build_skeleton(
            self.space, candidates, channels, layers, cells, num_classes, image_channels, stem, auxiliary, options,
            checkpointing,
        )  # fmt: skip

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Tensor:
        """Classify images.

        Args:
            images: ``[batch, image_channels, h, w]``.
            drop_path: In training, probability that an operation is dropped for a sample.

        Returns:
            Logits, ``[batch, num_classes]``.

        Raises:
            ValueError: If the images have other channels, or are smaller than the strides allow.
        """
        return self.with_auxiliary(images, drop_path)[0]

    def with_auxiliary(self, images: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """Logits of the classifier and, in training, of the auxiliary head where there is one."""
        outputs: tuple[Tensor, Tensor | None] = self.body(in_format(images, self.channels_last), None, drop_path)
        return outputs
