"""Operations of users: a module of their own on every edge."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustnas.networks.bundle import Bundle, Operation, State
from robustnas.networks.convolutions import strided_pointwise
from robustnas.networks.memory_format import lay_gradient_out, layout_of
from robustnas.networks.normalisation import Group


class Modules(Operation):
    """A user's own ``nn.Module`` on every edge, which ``factory`` makes from ``(channels, stride, affine)``."""

    widens = False

    def __init__(self, bundle: Bundle, factory: Callable[[int, int, bool], nn.Module], name: str) -> None:
        super().__init__(bundle)
        self.name = name
        self.each = nn.ModuleList(factory(bundle.channels, bundle.stride, bundle.affine) for _ in range(bundle.edges))
        self.strided = bundle.stride > 1 or any(strided_pointwise(module) for module in self.each.modules())
        self._checked: set[bool] = set()  # values of `training` at which the modules were seen to write nowhere

    @property
    def checked(self) -> bool:
        """Whether the modules were seen to leave their input as it is, in the mode they are in."""
        return self.training in self._checked

    def outputs(self, images: Tensor, group: Group) -> list[Tensor]:
        """Outputs of the modules of some edges; the first call in training, and in evaluation, checks the images."""
        if self.checked:
            return [self._on_edge(position, images) for position in group]
        # Inference mode counts no versions, and writes to `.data` are not counted, so values are compared too.
        version = None if images.is_inference() else images._version
        copy = None if images.is_meta else images.detach().clone()
        outputs = [self._on_edge(position, images) for position in group]
        written = version is not None and images._version != version
        if written or not (copy is None or torch.allclose(copy, images, rtol=0, atol=0, equal_nan=True)):
            raise ValueError(
                f"Expected the operation {self.name!r} to leave its input as it is, since other operations read the "
                "same images, but got one that writes into it: set `inplace=False`, or clone the input first."
            )
        self._checked.add(self.training)
        return outputs

    def forward(self, state: State, group: Group, scale: Tensor | None) -> Tensor:
        outputs = self.outputs(state.images, group)
        if scale is not None:
            outputs = [output * weight.to(output.dtype) for output, weight in zip(outputs, scale, strict=True)]
        return torch.cat(outputs, dim=1)

    def _on_edge(self, position: int, images: Tensor) -> Tensor:
        layout = layout_of(images)
        if not (self.strided and images.is_cpu and layout == torch.channels_last):
            output: Tensor = self.each[position](images)
            return output
        # torch may write beyond the memory of strided 1 x 1 convolutions (docs/guides/precision.md).
        apart = self.each[position](lay_gradient_out(images).contiguous())
        return lay_gradient_out(apart).contiguous(memory_format=layout)

    def edgewise(self, name: str, position: int) -> tuple[str, int | None] | None:
        _, owner, inside = name.split(".", 2)
        return (inside, None) if int(owner) == position else None
