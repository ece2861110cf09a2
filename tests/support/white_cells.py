"""A detector small enough to compute by hand: it finds white 32x32 cells of the network's input.

One convolution of 32x32, stride 32, then the decode with one anchor of 32x32 pixels. Its raw
outputs: the box entries are 0, so every box is its cell; objectness is 40 * mean(R, G, B) - 30,
above 0 from a mean of 0.75; class 0 ("plain") is 4, class 1 ("red") is 8 * (mean R - mean B).
"""

import numpy as np

from refquant.graph.graph import Model, Node, count

NAMES = ("plain", "red")


def white_cells() -> Model:
    weight = np.zeros((7, 3, 32, 32), np.float32)
    bias = np.zeros(7, np.float32)
    weight[4] = 40 / 3 / 1024
    bias[4] = -30
    bias[5] = 4
    weight[6, 0], weight[6, 2] = 8 / 1024, -8 / 1024
    options = {"stride": 32, "padding": 0, "activation": "linear"}
    nodes = (
        Node("head", "conv", ("images",), options, {"weight": weight, "bias": bias}),
        Node(
            "decode",
            "decode",
            ("head",),
            {"strides": (32,)},
            {"anchors": np.array([[[32, 32]]], np.float32)},
        ),
    )
    return Model(nodes, NAMES, True, count(nodes))


def scene(height: int, width: int, *cells: tuple[int, int]) -> np.ndarray:
    """A black image with white cells at (row, column), in units of 32 pixels."""
    image = np.zeros((height, width, 3), np.uint8)
    for row, column in cells:
        image[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 255
    return image
