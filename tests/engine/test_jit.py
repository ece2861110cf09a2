"""The compile cache, in processes of their own: kept, announced, never stale, not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import refquant

pytestmark = pytest.mark.slow  # many processes that import Numba

ROOT = Path(refquant.__file__).parents[1]
LINE = "refquant: compiling the kernels for this CPU, once ..."

# A kernel of one line in a file of its own, beside an ops folder of its own.
KERNEL = """
from refquant.engine.jit import kernel

@kernel
def plus_one(x: int) -> int:
    return x + 1
"""


def call(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Import the kernel from `folder` in a new process and call it."""
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG"))
    }
    return subprocess.run(
        [sys.executable, "-B", "-c", "from one_kernel import plus_one; print(plus_one(41))"],
        env={**variables, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "one_kernel.py").write_text(KERNEL)
    return tmp_path / "package"


def compiled(folder: Path) -> list[Path]:
    return list(folder.rglob("*.nbc"))


def test_the_first_process_compiles_and_says_so_and_the_second_does_neither(folder):
    first, second = call(folder), call(folder)
    assert (first.stdout, second.stdout) == ("42\n", "42\n")
    assert (first.stderr.strip(), second.stderr) == (LINE, "")
    assert len(compiled(folder / "__pycache__")) == 1


def test_a_folder_that_cannot_be_written_is_replaced_by_the_users_cache(folder, tmp_path):
    (folder / "__pycache__").write_text(
        "a file where the folder would be: not even root can write"
    )
    cache = tmp_path / "cache"
    first, second = (call(folder, XDG_CACHE_HOME=str(cache)) for _ in range(2))
    assert (first.stderr.strip(), second.stderr) == (LINE, "")
    assert len(compiled(cache)) == 1


def test_a_folder_of_the_users_choice_keeps_the_kernels(folder, tmp_path):
    chosen = tmp_path / "chosen"
    first, second = (call(folder, NUMBA_CACHE_DIR=str(chosen)) for _ in range(2))
    assert (first.stderr.strip(), second.stderr) == (LINE, "")
    assert len(compiled(chosen)) == 1


def test_where_nothing_can_be_written_the_kernel_works_all_the_same(folder):
    (folder / "__pycache__").write_text("")
    again = [call(folder, XDG_CACHE_HOME="/dev/null", HOME="/dev/null") for _ in range(2)]
    assert [process.stdout for process in again] == ["42\n", "42\n"]
    assert [process.stderr.strip() for process in again] == [LINE, LINE]


def test_no_other_file_keeps_kernels_by_itself():
    """Numba alone would keep them under names that do not change when their parts do."""
    texts = {path: path.read_text() for path in (ROOT / "refquant").rglob("*.py")}
    assert {path.name for path, text in texts.items() if "cache=True" in text} == {"jit.py"}
    users = {path.name for path, text in texts.items() if "njit" in text}
    assert users == {"jit.py", "native.py"}


def test_a_change_in_a_file_that_kernels_are_made_of_makes_them_new(folder):
    for floor in ("arrays", "ops", "engine"):
        shutil.copytree(ROOT / "refquant" / floor, folder / "refquant" / floor)
    for name in ("__init__.py", "_version.py"):
        shutil.copy(ROOT / "refquant" / name, folder / "refquant" / name)
    assert call(folder).stderr.strip() == LINE
    assert call(folder).stderr == ""
    (folder / "refquant" / "engine" / "another_kernel.py").write_text("# a new text")
    assert call(folder).stderr.strip() == LINE
