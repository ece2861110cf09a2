"""The public names of refquant: there, importable one by one, and what the README shows works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import refquant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", refquant.__all__)
def test_every_public_name_is_there(name):
    assert getattr(refquant, name) is not None


def test_the_docstring_lists_the_public_names_and_no_other():
    lines = re.findall(r"^    ((?:\w+, )*\w+)", refquant.__doc__, re.MULTILINE)
    listed = [name for line in lines for name in line.split(", ")]
    assert sorted(["__version__", *listed]) == sorted(refquant.__all__)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        refquant.nothing  # noqa: B018


@pytest.mark.parametrize("first", ["refquant.detect", "import refquant.detect.dataset"])
def test_detect_can_be_called_again_although_a_folder_has_its_name(first):
    script = (
        f"import refquant\n{first}\n"
        "model = refquant.load_model('demo')\n"
        f"image = {str(ROOT / 'weights/demo/val/00003.png')!r}\n"
        "print(len(refquant.detect(model, image)), len(refquant.detect(model, image, conf=1)))\n"
        "from refquant import detect\n"
        "print(len(detect(model, image)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "0", "3"]


def test_the_example_of_the_readme_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    # 32 filters of 27 codes of half a byte, each with a scale of 4 bytes and a zero point of 1
    assert capsys.readouterr().out.startswith("(32, 27) 592 ")
