"""Whatever becomes part of a kernel is hashed, so that kept machine code is never out of date."""

import ast
from fnmatch import fnmatch
from pathlib import Path

from refquant.engine import compiled

PACKAGE = Path(compiled.__file__).parents[1]
HASHED = sorted({path for pattern in compiled.PARTS for path in PACKAGE.glob(pattern)})
# What of these Python alone runs: decorators, and definitions of what is jitted elsewhere.
PYTHON_ALONE = {"compiled.py", "jit.py", "native.py", "activation.py", "fma.py", "loops.py"}


def imported_files(path: Path) -> set[str]:
    """Files of ops/ and engine/ that a file imports, as PARTS names them."""
    imports = (node for node in ast.walk(ast.parse(path.read_text())))
    modules = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    names = {module.removeprefix("refquant.").replace(".", "/") + ".py" for module in modules}
    return {name for name in names if name.startswith(("ops/", "engine/"))}


def unhashed(patterns):
    """(file, import that is not hashed) of all kernel files."""
    return {
        (path.name, name)
        for path in HASHED
        if path.name not in PYTHON_ALONE
        for name in imported_files(path)
        if not any(fnmatch(name, pattern) for pattern in patterns)
    }


def test_what_kernels_import_is_hashed():
    assert len(HASHED) > 10
    assert unhashed(compiled.PARTS) == set()


def test_a_missing_part_would_be_noticed():
    for part in ("engine/simd.py", "engine/steps.py", "engine/tiles.py"):
        assert any(name == part for _, name in unhashed(set(compiled.PARTS) - {part}))
