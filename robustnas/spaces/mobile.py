"""The space of ProxylessNAS (arXiv:1812.00332): a chain of mobile blocks with searched kernel and expansion."""

from __future__ import annotations

from collections.abc import Sequence

from robustnas.spaces.space import CellSpace, Edge, SearchSpace

MBCONVS = ("mbconv_3x3_3", "mbconv_3x3_6", "mbconv_5x5_3", "mbconv_5x5_6", "mbconv_7x7_3", "mbconv_7x7_6")


def mobile(name: str, blocks: Sequence[int] = (4, 4, 4, 4, 4, 1), operations: tuple[str, ...] = MBCONVS) -> SearchSpace:
    """Return a chain of blocks in stages, of one kind ``chain``, whose edge from k to k + 1 is block k.

    The operation ``mbconv_5x5_6``, a depthwise 5 x 5 convolution on six times the channels, is ``5x5_MBConv6`` in the
    original code, and ``none`` its ``Zero``. The first block of a stage changes the number of channels and may halve
    the resolution. The others have a residual connection and may be ``none``, which removes the block: so depth is
    searched. ``blocks`` are numbers of blocks, 21 in six stages in the paper; ``operations`` are those of every block,
    without ``none``.

    Raises:
        ValueError: If there are no stages, or more than six.
    """
    if not 1 <= len(blocks) <= 6:
        raise ValueError(f"Expected `blocks` to list one to six stages, but got {len(blocks)}.")
    starts = {sum(blocks[:k]) for k in range(len(blocks))}
    edges = [Edge(k, k + 1, operations if k in starts else (*operations, "none")) for k in range(sum(blocks))]
    chain = CellSpace(inputs=1, edges=tuple(edges), outputs=(len(edges),))
    return SearchSpace(name, {"chain": chain}, "mobile", tuple(blocks))


Mobile = mobile("Mobile")
MobileSmall = mobile("MobileSmall", (1, 2, 2))  # for images of 8 x 8 pixels or so
