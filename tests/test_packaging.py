"""What is promised about installing: weights travel, the README's test command is the one run."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from places import ROOT, TESTS

from refquant.formats.official import official_name, weights_folder


def test_the_weights_folder_is_reachable_where_refquant_is_imported_from():
    assert (weights_folder() / "official.json").is_file()


def test_the_official_checkpoint_is_known_by_its_hash_and_no_other():
    sha256 = "d1ac3c74eb96a3eec77949c0f37a06bc272756606ff011d9353f7abff4e0c71d"
    assert official_name(sha256) == "yolov7.pt"
    assert official_name("0" * 64) is None


@pytest.mark.slow
def test_a_wheel_carries_the_weights_and_every_module(tmp_path):
    pytest.importorskip("build")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    copy = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignore)
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "refquant").rglob("*.py")}
    assert modules <= names
    assert "refquant/weights/official.json" in names
    assert {"refquant/weights/demo.h5", "refquant/weights/MODEL_CARD.md"} <= names
    demo = [name for name in names if name.startswith("refquant/weights/demo/")]
    assert len(demo) == 361  # 360 images and their annotations
    assert {"refquant/py.typed", "refquant/__init__.pyi"} <= names
    assert not any(name.startswith("tests/") for name in names)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    script = (
        "import refquant, pathlib; from refquant.formats.official import weights_folder as w;"
        "print(refquant.__file__); print((w() / 'official.json').is_file())"
    )
    libraries = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": libraries},
        capture_output=True,
        text=True,
        check=True,
    )
    where, found = done.stdout.split()
    assert where.startswith(str(tmp_path / "site"))
    assert found == "True"


# What is imported under another name than it is installed by; torch alone is not installed.
PACKAGES = {"cv2": "opencv-python-headless", "dask": "distributed", "torch": None}


def test_what_tests_skip_without_is_installed_by_the_test_command_but_pytorch():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    installed = {line.split()[0] for line in extras["dev"].splitlines() if line}
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    found = {name for text in texts for name in re.findall(r'importorskip\("(\w+)[".]', text)}
    assert {"onnx", "cv2", "torch"} <= found
    wanted = {PACKAGES.get(name, name) for name in found - {"refquant"}}
    assert wanted - installed == {None}


def test_ci_runs_the_very_test_command_of_the_readme():
    (command,) = [
        line for line in (ROOT / ".ci/run").read_text().splitlines() if "-m pytest" in line
    ]
    assert command in (ROOT / "README.md").read_text().splitlines()
