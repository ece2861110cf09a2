"""Floor 3: how a network is computed fast: steps on maps in blocks, and the kernels for them."""
