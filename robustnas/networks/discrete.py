"""The discrete network of a genotype, trained from scratch to evaluate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from typing_extensions import Self

from robustnas.networks.cell import Candidate
from robustnas.networks.classifier import Classifier
from robustnas.networks.config import SupernetConfig
from robustnas.networks.edgewise import Edgewise
from robustnas.networks.supernet import build_skeleton, in_format
from robustnas.spaces import Genotype, SearchSpace, find_space, parse_genotype


class DiscreteNetwork(Edgewise, Classifier):
    """The network a genotype stands for: only its edges, each with its one operation and weight one.

    BatchNorm is affine everywhere and does not follow pooling. With ``drop_path``, the output of an operation
    that is not an identity is dropped for a sample, and the others are scaled up. A supernet of the same size hands its
    weights down by ``network.load_edgewise_state_dict(supernet.edgewise_state_dict(), strict=False)``.

    ``size`` and ``fields`` are those of :class:`~robustnas.networks.SupernetConfig`, which may be given as ``config``
    instead; ``channels`` are 36 by default, as for CIFAR-10 in the DARTS paper, which has 48 for ImageNet, and 32 in
    the ProxylessNAS paper. With ``auxiliary``, an auxiliary head looks at the cell at two thirds of the depth.

    Raises:
        ValueError: If the genotype is not one of the space, or an argument does not fit it.
    """

    def __init__(
        self,
        space: SearchSpace | str,
        genotype: Genotype,
        *size: Any,
        auxiliary: bool = False,
        config: SupernetConfig | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        self.space = find_space(space)
        self.genotype = genotype.validate(self.space)
        if config is None and not size:
            fields = {"channels": 36, **fields}
        self.config = replace(SupernetConfig.of(config, *size, **fields), affine=True, pool_norm=False)
        candidates = {
            kind: [Candidate(row, 0, *choice) for row, choice in enumerate(choices)]
            for kind, choices in genotype.cells.items()
        }
        self.body = build_skeleton(self.space, candidates, self.config, auxiliary)
        self.num_features = int(self.get_classifier().in_features)  # type: ignore[arg-type]
        self.image_channels, self.shrink = self.config.image_channels, self.body.shrink

    @classmethod
    def from_genotype(cls, genotype: Genotype | str, **size: Any) -> Self:
        """Return the network of a genotype, whose space is the one that it names.

        Args:
            genotype: A genotype, or a text that :func:`~robustnas.spaces.parse_genotype` reads.
            **size: ``num_classes``, ``channels``, ``layers`` and the other arguments of the constructor.
        """
        found = parse_genotype(genotype) if isinstance(genotype, str) else genotype
        return cls(found.space, found, **size)

    def forward(self, images: Tensor, drop_path: float = 0.0) -> Tensor:
        """Logits, ``[batch, num_classes]``; in training ``drop_path`` is the probability to drop an operation."""
        return self.with_auxiliary(images, drop_path)[0]

    def with_auxiliary(self, images: Tensor, drop_path: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """Logits of the classifier and, in training, of the auxiliary head where there is one."""
        outputs: tuple[Tensor, Tensor | None] = self.body(in_format(images, self.config.channels_last), None, drop_path)
        return outputs

    @property
    def heads(self) -> Sequence[nn.Module]:
        auxiliary = getattr(self.body, "auxiliary", None)
        return [self.body] if auxiliary is None else [self.body, auxiliary]

    def all_maps(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        last, _ = self.body.features(in_format(images, self.config.channels_last), None, 0.0, maps)
        return [*maps, last]

    def reset_classifier(self, num_classes: int) -> None:
        super().reset_classifier(num_classes)
        if num_classes:
            self.config = replace(self.config, num_classes=num_classes)
