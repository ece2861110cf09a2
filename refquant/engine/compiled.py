"""What all compiled code has in common: its options, the hash of its parts, the announcement.

Compiled code is kept on disk in two ways: as machine code of the engine (native.py), and in
Numba's own cache (jit.py). Both are out of date as soon as the text of a part changes.
"""

import hashlib
import sys
from importlib import metadata
from pathlib import Path

from refquant.engine.tiles import cpu_compiled_for

OPTIONS = {"nogil": True, "error_model": "numpy"}  # of Numba; its fastmath stays off
FOLDER = Path(__file__).parent
# The files of the package whose text becomes part of kernels.
PARTS = (
    "engine/*_kernel.py",
    "engine/*loops.py",
    "engine/compiled.py",
    "engine/jit.py",
    "engine/native.py",
    "engine/simd.py",
    "engine/steps.py",
    "engine/tiles.py",
    "ops/activation.py",
    "ops/conv_loops.py",
    "ops/fma.py",
)


def digest_of_parts() -> str:
    """A hash of the text of all kernels, and of everything that turns it into code."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in PARTS for path in FOLDER.parent.glob(pattern)):
        digest.update(path.read_bytes())
    versions = [metadata.version(package) for package in ("numba", "llvmlite", "numpy")]
    digest.update(" ".join([*versions, cpu_compiled_for()]).encode())
    return digest.hexdigest()[:16]


def announce() -> None:
    """Say on stderr, the first time in a process, why it takes seconds."""
    if not _announced:
        _announced.append(True)
        print("refquant: compiling the kernels for this CPU, once ...", file=sys.stderr)


_announced: list[bool] = []
