"""The legend of letters: every docstring uses them, and no others, for these things.

Activations are (N, C, H, W):
    N  images           C  channels (input channels, where a convolution is meant)
    H  rows             W  columns
    P  output rows      Q  output columns
Weights of a convolution are (F, C, R, S):
    F  filters (output channels)     C  input channels
    R  kernel rows                   S  kernel columns
Quantization sees rows (G, N):
    G  groups, each with parameters of its own      N  weights per group
"""

WEIGHT_AXES = ("F", "C", "R", "S")
