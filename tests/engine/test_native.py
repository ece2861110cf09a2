"""The kept machine code, in processes of their own: needs no Numba, is never stale or damaged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import refquant

pytestmark = pytest.mark.slow  # many processes, some of which compile

PACKAGE = Path(refquant.__file__).parent
LINE = "refquant: compiling the kernels for this CPU, once ..."
MODULE = "def double(x): return 2 * x\n"
CALL = """
import sys
from refquant.engine.native import code_of
code = code_of("one_module", "double", 1)
print(code.call(21), code.compiled, "numba" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path):
    """A copy of the lowest floors, and a module with a function to compile."""
    for floor in ("arrays", "ops", "engine"):
        shutil.copytree(
            PACKAGE / floor,
            tmp_path / "refquant" / floor,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("__init__.py", "_version.py"):
        shutil.copy(PACKAGE / name, tmp_path / "refquant" / name)
    (tmp_path / "one_module.py").write_text(MODULE)
    return tmp_path


def call(folder: Path, **environment: str) -> tuple[str, str]:
    """(stdout, stderr) of a new process that calls the function."""
    return run(folder, CALL, **environment)


def run(folder: Path, program: str, **environment: str) -> tuple[str, str]:
    """(stdout, stderr) of a new process, which must succeed."""
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG"))
    }
    process = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**variables, "PYTHONPATH": str(folder), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.strip(), process.stderr.strip()


NEW, KEPT = ("42 True True", LINE), ("42 False False", "")


def cache_of(folder: Path) -> Path:
    return folder / "refquant" / "engine" / "__pycache__"


def cannot_be_written(folder: Path) -> None:
    """A file stands where the folder would be: not even root can write into that."""
    cache_of(folder).write_text("")


def test_the_second_process_loads_what_the_first_compiled_and_needs_no_numba(folder):
    assert [call(folder), call(folder)] == [NEW, KEPT]
    assert len(list(cache_of(folder).glob("double-*.o"))) == 1


def test_an_installation_that_cannot_be_written_uses_the_users_cache(folder, tmp_path):
    cannot_be_written(folder)
    cache = tmp_path / "cache"
    assert [call(folder, XDG_CACHE_HOME=str(cache)) for _ in range(2)] == [NEW, KEPT]
    assert len(list((cache / "refquant").iterdir())) == 1


def test_a_folder_of_the_users_choice_is_the_only_one(folder, tmp_path):
    assert call(folder) == NEW  # beside the package
    chosen = tmp_path / "chosen"
    assert [call(folder, NUMBA_CACHE_DIR=str(chosen)) for _ in range(2)] == [NEW, KEPT]
    assert len(list(chosen.glob("double-*.o"))) == 1


def test_where_nothing_can_be_written_every_process_compiles(folder):
    cannot_be_written(folder)
    nowhere = {"XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null"}
    assert [call(folder, **nowhere) for _ in range(2)] == [NEW, NEW]


def test_where_nothing_can_be_written_the_kernels_can_be_imported_all_the_same(folder):
    cannot_be_written(folder)
    nowhere = {"XDG_CACHE_HOME": "/dev/null", "HOME": "/dev/null"}
    assert run(folder, "import refquant.engine.work_kernel", **nowhere) == ("", "")
    assert run(folder, "import refquant.engine.loops", **nowhere) == ("", "")


def test_another_text_of_a_kernel_and_another_cpu_make_new_code(folder):
    assert call(folder) == NEW
    assert call(folder, NUMBA_CPU_NAME="generic") == NEW
    (folder / "refquant" / "engine" / "another_kernel.py").write_text("# a new text")
    assert call(folder) == NEW


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damaged_code_is_never_run(folder, damage):
    assert call(folder) == NEW
    (file,) = cache_of(folder).glob("double-*.o")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert [call(folder), call(folder)] == [NEW, KEPT]


@pytest.mark.parametrize(
    "environment",
    [{}, {"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}],
)
def test_the_cpu_is_the_one_that_numba_compiles_for(environment):
    compare = (
        "from numba.core.registry import cpu_target as t; from refquant.engine import tiles\n"
        "print(t.target_context.codegen().magic_tuple()[1:] == tiles.cpu_name_and_features())"
    )
    process = subprocess.run(
        [sys.executable, "-c", compare],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "True\n"
