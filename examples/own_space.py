"""Search in a space of your own, with an operation of your own, from Python without the command line.

    python examples/own_space.py

Prints the genotype after a short search on handwritten digits, and draws its cells to ``own_space.svg``.
"""

import pytorch_lightning as pl
import torch.nn.functional as F
from robustnas.variants import DARTS
from torch import Tensor, nn

from robustnas.data import Digits
from robustnas.networks import register_operation
from robustnas.plotting.cells import save_drawing
from robustnas.spaces import SearchSpace, complete_cell


class Blur(nn.Module):
    """3 x 3 mean of each channel, then a learned 1 x 1 convolution."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.stride = stride
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, images: Tensor) -> Tensor:
        """Blur images, ``[batch, channels, h, w]``."""
        return self.norm(self.mix(F.avg_pool2d(images, 3, self.stride, 1)))


def main() -> None:
    """Search for three epochs."""
    register_operation("blur", Blur)
    shared = {"inputs": 2, "nodes": 2, "operations": ("skip_connect", "sep_conv_3x3", "blur"), "outputs": (2, 3)}
    cells = {"normal": complete_cell(**shared, keep=2), "reduce": complete_cell(**shared, keep=2, reduction=True)}
    space = SearchSpace("own", cells)
    search = DARTS(space=space, channels=4, layers=3, image_channels=1, arch_lr=0.03)
    data = Digits(batch_size=64)
    trainer = pl.Trainer(max_epochs=3, limit_train_batches=5, accelerator="cpu", default_root_dir="runs/own_space")
    trainer.fit(search, data)
    print(search.genotype())
    for name, share in zip(shared["operations"], search.shares()["normal"].mean(dim=0).tolist(), strict=True):
        print(f"{name:>14} {share:.3f}")
    save_drawing(search.genotype(), "own_space.svg", space)


if __name__ == "__main__":
    main()
