"""Whatever becomes part of a kernel is hashed, so that kept machine code is never out of date."""

import ast
from fnmatch import fnmatch
from pathlib import Path

from refquant.ops import native

FOLDER = Path(native.__file__).parent
HASHED = sorted({path for pattern in native.PARTS for path in FOLDER.glob(pattern)})
# What of these Python alone runs: decorators, and definitions of what is jitted elsewhere.
PYTHON_ALONE = {"jit.py", "native.py", "activation.py", "fma.py", "loops.py"}


def modules_of_ops(path: Path) -> set[str]:
    """Files of refquant/ops that a file imports."""
    prefix = "refquant.ops."
    imports = (node for node in ast.walk(ast.parse(path.read_text())))
    names = {node.module for node in imports if isinstance(node, ast.ImportFrom) and node.module}
    return {name.removeprefix(prefix) + ".py" for name in names if name.startswith(prefix)}


def unhashed(patterns):
    """(file, import that is not hashed) of all kernel files."""
    return {
        (path.name, name)
        for path in HASHED
        if path.name not in PYTHON_ALONE
        for name in modules_of_ops(path)
        if not any(fnmatch(name, pattern) for pattern in patterns)
    }


def test_what_kernels_import_is_hashed():
    assert len(HASHED) > 10
    assert unhashed(native.PARTS) == set()


def test_a_missing_part_would_be_noticed():
    for part in ("simd.py", "steps.py", "tiles.py"):
        assert any(name == part for _, name in unhashed(set(native.PARTS) - {part}))
