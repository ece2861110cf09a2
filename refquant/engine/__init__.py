"""Floor 3: how a model is computed fast: as steps on maps in blocks, and the kernels for them."""
