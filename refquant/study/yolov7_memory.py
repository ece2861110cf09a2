"""What the paper's memory figures say, computed from the shapes of YOLOv7: no weights needed.

N weights and O other numbers of the unfolded network (O: batch norms with gamma, beta, mean and
variance, biases, implicit layers), G groups, v parameters per group, k nominal bits.
    baseline  = 2 * (N + O)                              bytes, everything in FP16            (1)
    bytes     = N * k / 8 + 4 * v * G + 2 * O                                                (2)
    saving    = baseline / bytes                                                              (3)
    room(f)   = the G for which (3), rounded to two decimals, is f                            (4)

(2) with k + 1 instead of k is what PWLQ really stores: its codes say which piece they are of.
Source  The accounting is inferred (it is not printed in the paper): it is the one under which all
        of the savings of Baghbanbashi et al. 2023, arXiv 2407.04943, can be met.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refquant.graph.architecture import ARCHITECTURES, layers_of
from refquant.graph.graph import Counts, count
from refquant.graph.lower import lower
from refquant.quant.granularity import find_granularity
from refquant.quant.schemes import find_scheme

CLASSES = 80  # of COCO


class Unfolded(NamedTuple):
    """Shapes of the convolutions, unfolded, and the counts."""

    shapes: tuple[tuple[int, ...], ...]
    counts: Counts

    @property
    def others(self) -> int:
        """O of the file's docstring."""
        return 4 * self.counts.norm_channels + self.counts.biases + self.counts.implicit


@lru_cache(maxsize=1)
def yolov7() -> Unfolded:
    """The unfolded YOLOv7 in its released form; its arrays are never touched, so cost nothing."""
    layers = layers_of(
        ARCHITECTURES["yolov7"], 1.0, CLASSES, False, lambda _, shape: np.zeros(shape, np.float32)
    )
    nodes = lower(layers)
    shapes = tuple(node.arrays["weight"].shape for node in nodes if node.op == "conv")
    return Unfolded(shapes, count(nodes))


def groups(granularity: str) -> int:
    """G of YOLOv7."""
    rules = find_granularity(granularity)
    return sum(rules.rows_shape(shape)[0] for shape in yolov7().shapes)


def saving(scheme: str, granularity: str, bits: int, *, stored: bool = False) -> float:
    """Equation (3); with the bits that are really stored if `stored`."""
    rules, network = find_scheme(scheme), yolov7()
    width = rules.code_bits(bits) if stored else bits
    return baseline() / size(network.counts.weights * width / 8, scheme, bits, groups(granularity))


def baseline() -> int:
    """Equation (1)."""
    return 2 * (yolov7().counts.weights + yolov7().others)


def size(codes: float, scheme: str, bits: int, G: int) -> float:
    """Equation (2), the first term given."""
    return codes + 4 * find_scheme(scheme).nominal_params(bits) * G + 2 * yolov7().others


def room(published: float, scheme: str, bits: int) -> tuple[int, int]:
    """Equation (4): the fewest and the most groups."""
    codes = yolov7().counts.weights * bits / 8
    per_group = size(0, scheme, bits, 1) - size(0, scheme, bits, 0)
    fixed = size(codes, scheme, bits, 0)
    low = (baseline() / (published + 0.005) - fixed) / per_group
    high = (baseline() / (published - 0.005) - fixed) / per_group
    return math.ceil(low), math.floor(high)
