"""Parameters, widths and strides of mobile networks: by hand, and as published."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chains import count, genotype
from tables import check_each

from robustnas.networks import DiscreteNetwork, Supernet, SupernetConfig
from robustnas.networks.cell import Candidate
from robustnas.networks.mobile import WIDTHS, MobileSkeleton, rounded
from robustnas.spaces import Mobile


def norm(channels: int) -> int:
    return 2 * channels


def mbconv(before: int, after: int, size: int, expansion: int) -> int:
    """Weights of a block, term by term: expand, depthwise, project, each with its BatchNorm."""
    inside = before * expansion
    expand = 0 if expansion == 1 else before * inside + norm(inside)
    return expand + inside * size * size + norm(inside) + inside * after + norm(after)


def test_parameters_by_hand() -> None:
    """The chain of one operation in the paper's widths, for ImageNet."""

    def check(size: int, expansion: int) -> None:
        expected, before = 3 * 32 * 9 + norm(32) + mbconv(32, 16, 3, 1), 16
        for width, blocks in zip((24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), strict=True):
            for _ in range(blocks):
                expected += mbconv(before, width, size, expansion)
                before = width
        expected += 320 * 1280 + norm(1280) + 1280 * 1000 + 1000
        with torch.device("meta"):
            found = genotype(Mobile, f"mbconv_{size}x{size}_{expansion}")
            network = DiscreteNetwork(Mobile, found, channels=32, num_classes=1000, stem="imagenet")
        assert count(network) == expected

    check_each([(3, 3), (5, 6), (7, 3)], lambda row: check(*row))


# Networks of the ProxylessNAS authors, whose widths differ from those of the search, as configured in
# github.com/osmr/imgclsmob, which counts their parameters: kernel and expansion of each block, a dot for none.
PUBLISHED = {
    4_361_648: (
        (40, 24, 32, 48, 88, 104, 216, 360, 1432),
        "36 33 33 33  36 33 33 53  36 . . 33  56 33 33 33  56 53 53 33  56",
    ),
    7_119_848: (
        (40, 24, 32, 56, 112, 128, 256, 432, 1728),
        "53 . . .  73 . . 33  76 . . 53  56 . 33 53  76 76 76 56  76",
    ),
    4_080_512: (
        (32, 16, 32, 40, 80, 96, 192, 320, 1280),
        "53 33 . .  73 33 53 53  76 53 53 53  56 53 53 53  76 76 73 73  76",
    ),
    6_857_568: (
        (48, 24, 40, 56, 112, 136, 256, 448, 1792),
        "53 33 . .  73 33 53 53  76 53 53 53  56 53 53 53  76 76 73 73  76",
    ),
}


def test_parameters_of_published_networks() -> None:
    def check(expected: int) -> None:
        widths, blocks = PUBLISHED[expected]
        names = ["none" if block == "." else f"mbconv_{block[0]}x{block[0]}_{block[1]}" for block in blocks.split()]
        candidates = {
            "chain": [Candidate(k, 0, *choice) for k, choice in enumerate(genotype(Mobile, *names).cells["chain"])]
        }
        with torch.device("meta"):
            config = SupernetConfig(widths[0], num_classes=1000, stem="imagenet")
            assert count(MobileSkeleton(Mobile, candidates, config, widths)) == expected

    check_each(PUBLISHED, check)


def test_widths_are_scaled_and_rounded_as_in_the_original() -> None:
    assert [rounded(0.5 * width) for width in WIDTHS[:-1]] == [16, 8, 16, 24, 40, 48, 96, 160]  # 20 is nearer to 24
    assert [rounded(0.25 * width) for width in WIDTHS[:-1]] == [8, 8, 8, 16, 24, 24, 48, 80]  # 10 would lose to 8
    with torch.device("meta"):
        small, large = (Supernet(Mobile, channels).body for channels in (8, 64))
    assert (small.classifier.in_features, large.classifier.in_features) == (1280, 2560)


@pytest.mark.parametrize(("stem", "shrink"), [("cifar", 8), ("imagenet", 32)])
def test_strides(stem: Any, shrink: int) -> None:
    with torch.device("meta"):
        body = Supernet(Mobile, 8, stem=stem).body
        assert body.shrink == shrink
        sizes: list[tuple[int, ...]] = []
        body.mix.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
        body.eval()(torch.empty(1, 3, 4 * shrink, 6 * shrink), None)
        assert sizes == [(4, 6)]
        with pytest.raises(ValueError, match=f"Expected `images` to be at least {shrink} x {shrink} pixels"):
            body(torch.empty(1, 3, shrink - 1, shrink), None)
