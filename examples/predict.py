"""Load a genotype, train its discrete network in plain PyTorch, and predict.

    python examples/predict.py            # a genotype of NAS-Bench-201
    python examples/predict.py runs/mine  # what a search found; a file, or a genotype as text, will do too

Nothing of Lightning is needed: the network of a genotype is an ordinary module.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from robustnas.networks import DiscreteNetwork
from robustnas.runs.record import read_genotype
from robustnas.spaces import find_space

GENOTYPE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"


def main(source: str = GENOTYPE) -> float:
    """Train on most of scikit-learn's digits, and predict the others.

    Args:
        source: A genotype as text, its file, or the folder of a run.

    Returns:
        The share of images that are predicted correctly.
    """
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1  # [1797, 1, 8, 8] in [-1, 1]
    targets = torch.tensor(digits.target)
    held_out = torch.arange(len(images)) % 5 == 0

    genotype = read_genotype(source)
    space = find_space(genotype.space)
    depth = {"cells": 1} if space.skeleton == "nasbench201" else {"layers": 3}
    network = DiscreteNetwork(space, genotype, channels=8, **depth, num_classes=10, image_channels=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=3e-4)
    for _ in range(4):
        for batch in torch.randperm(int((~held_out).sum())).split(64):
            loss = nn.functional.cross_entropy(network(images[~held_out][batch]), targets[~held_out][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    network.eval()
    with torch.no_grad():
        predicted = network(images[held_out]).argmax(dim=1)
    accuracy = float((predicted == targets[held_out]).float().mean())
    print(genotype)
    print(f"predicted {predicted[:10].tolist()}, true {targets[held_out][:10].tolist()}: {accuracy:.1%} correct")
    return accuracy


if __name__ == "__main__":
    main(*sys.argv[1:])
