"""Operations on whole maps: concat, upsample, space_to_depth, add, add_channel, multiply_channel.

All take and give (N, C, H, W). Only the last three round, once per step; `add` goes from left to
right.
"""

import numpy as np
from numpy.typing import NDArray


def concat(*maps: NDArray) -> NDArray:
    """Join along channels, in the order of the inputs."""
    return np.concatenate(maps, axis=1)


def upsample(x: NDArray, *, scale: int) -> NDArray:
    """Nearest neighbour: y[..., h, w] = x[..., h // scale, w // scale]."""
    return x.repeat(scale, axis=2).repeat(scale, axis=3)


def space_to_depth(x: NDArray) -> NDArray:
    """(N, C, H, W) to (N, 4C, H/2, W/2): the four (row, column) parities become channel blocks.

    Their order is that of YOLOv7's ReOrg and YOLOv5's Focus: (0,0), (1,0), (0,1), (1,1).
    """
    parities = ((0, 0), (1, 0), (0, 1), (1, 1))
    return np.concatenate([x[:, :, row::2, column::2] for row, column in parities], axis=1)


def add(*maps: NDArray) -> NDArray:
    """The sum of maps of one shape, ((a + b) + c) ..."""
    total = maps[0]
    for other in maps[1:]:
        total = total + other
    return total


def add_channel(x: NDArray, implicit: NDArray) -> NDArray:
    """x + implicit[c], implicit (C,): the additive implicit knowledge in front of a head."""
    return x + implicit[:, None, None].astype(x.dtype)


def multiply_channel(x: NDArray, implicit: NDArray) -> NDArray:
    """x * implicit[c], implicit (C,): the multiplicative implicit knowledge behind a head."""
    return x * implicit[:, None, None].astype(x.dtype)
