"""`warmup` compiles everything that a forward pass needs, by running one of the smallest size."""

from typing import NamedTuple

import numpy as np


class Warm(NamedTuple):
    """What a warmup did.

    compiled   whether something had to be compiled
    cache      the folder that keeps the compiled code, "" if there is none
    cpu        LLVM's name of the CPU for which it is
    """

    compiled: bool
    cache: str
    cpu: str


def warmup() -> Warm:
    """Compile the kernels, or load them if that was done before."""
    from refquant.engine.conv_fast import conv_fast
    from refquant.engine.native import code_of
    from refquant.engine.program import WORK
    from refquant.engine.tiles import cpu_compiled_for

    conv_fast(np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32))
    code = code_of(*WORK)
    return Warm(code.compiled, code.folder, cpu_compiled_for().split(",")[0])
