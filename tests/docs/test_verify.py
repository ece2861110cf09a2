"""docs/verify.md: its programs run, and its commands print what it says.

The port on the page computes with NumPy, which rounds as the processor and its BLAS do: of the
numbers that it decides the form is compared, of all else every letter (support/page_text.py).
"""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from page_text import fits
from places import ROOT

from refquant.cli.main import main
from refquant.formats.official import weights_folder

DOC = ROOT / "docs" / "verify.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def commands_of(block: str) -> list[tuple[str, str]]:
    """(command, expected output) of a console block."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


class Reader:
    """Somebody who follows the page in an empty folder."""

    def __init__(self, capsys) -> None:
        self.capsys, self.code = capsys, 0

    def run(self, command: str) -> str:
        """What a command prints."""
        words = shlex.split(command.partition("#")[0])
        if words[0] == "python":
            runpy.run_path(words[1])
        elif words[0] == "refquant":
            self.code = main(words[1:])
        else:
            assert words == ["echo", "$?"]
            return f"{self.code}\n"
        return self.capsys.readouterr().out

    def edit(self, block: str) -> None:
        """Apply a diff to port.py."""
        old, new = (
            "".join(f"{line[1:]}\n" for line in block.splitlines() if line[0] == sign)
            for sign in "-+"
        )
        text = Path("port.py").read_text(encoding="utf-8")
        assert text.count(old) == 1
        Path("port.py").write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def reader(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = "demo/val/00000.png"
    Path("weights/demo/val").mkdir(parents=True)
    shutil.copy(weights_folder() / image, Path("weights") / image)
    return Reader(capsys)


def write_far() -> None:
    """The last output of the port, all numbers 1.0001 times what they were."""
    last = "model.105.decode"
    with np.load("theirs.npz") as arrays:
        np.savez("far.npz", **{last: arrays[last] * np.float32(1.0001)})


def test_expected_text_takes_what_it_says_and_nothing_else():
    expected = "model.1  wrong ... phase\n...\nH6\n"
    assert fits(expected, "model.1    wrong 1.2 phase\nH1\nH6")
    assert not fits(expected, "model.1  right 1.2 phase\nH1\nH6")
    assert not fits(expected, "model.1  wrong 1.2 phase\nH1\nH6\nmore")


PRINTED = """\
node          verdict     by  max abs  of bound  SQNR dB             cause or note
model.1.conv    wrong  local     1.86  5.12e+03     3.21         kernel transposed
model.51.m.0    wrong  local    0.267  infinite     12.2  pooling padded with 0 for -inf

1 implausible, 118 consistent, 2 wrong

first wrong: model.1.conv (conv)
  5 of 2304 elements are wrong
  channels: 3, [0, 2, 4] ...
  worst element [0, 3, 17, 49]: found 1.004
  expected 0.0591 +- 4.8e-06
  = silu(0.112), 72 products and a bias:
    bias -0.0455, products 0.157
    c,r,s      7,1,2  0.92 * 0.09
    and 60 more, together 0.01; --all prints them
  cosine to the golden 0.9695, elements by float32 steps 0: 2300, more: 4
  cause: kernel transposed
  |=* |
model.9  implausible  evidence  0.02  1e-41  80  183 times the largest deviation of 32 right ones

wrong: model.1.conv"""
# The same from another processor.
ELSEWHERE = (
    ("1.86  5.12e+03     3.21", "1.9   6e+03     -0.5"),
    ("0.267", "0.3"),
    ("5 of 2304", "17 of 2304"),
    ("3, [0, 2, 4]", "2, [1, 3, 5]"),
    ("[0, 3, 17, 49]: found 1.004", "[0, 1, 2, 3]: found -2"),
    ("0.0591 +- 4.8e-06", "7 +- 1e-05"),
    ("silu(0.112)", "silu(-1)"),
    ("-0.0455, products 0.157", "2, products 3"),
    ("7,1,2  0.92 * 0.09", "0,2,11  4 * -5"),
    ("0.01; --all", "-4e-09; --all"),
    ("0.9695, elements by float32 steps 0: 2300, more: 4", "1, elements by float32 steps 1: 2304"),
    ("|=* |", "|-@ |"),
    ("0.02  1e-41  80  183 times", "0.019  2e-41  79  200 times"),
)
# What a processor cannot change.
FALSE = (
    ("model.1.conv    wrong", "model.1.conv    undecided"),
    ("model.51.m.0", "model.51.m.1"),
    ("kernel transposed\nmodel", "kernel flipped\nmodel"),
    ("cause: kernel transposed", "cause: unknown"),
    ("-inf", "+inf"),
    ("1.86", "large"),
    ("infinite", "9e+09"),
    ("118 consistent", "117 consistent"),
    ("of 2304", "of 2305"),
    ("local    0.267", "segment    0.267"),
    ("17, 49]", "17]"),
    ("more: 4", "more: 5"),
    ("72 products", "71 products"),
    ("60 more", "61 more"),
    ("|=* |", "|=**|"),
    ("|=* |", "|=* =|"),
    ("model.9  implausible", "model.9  consistent"),
    ("of 32", "of 16"),
    ("\nwrong: model.1.conv", "\nwrong: model.51.m.0"),
)


@pytest.mark.parametrize(("here", "elsewhere"), ELSEWHERE)
def test_numbers_that_another_library_rounds_may_differ(here, elsewhere):
    assert PRINTED.count(here) == 1
    assert fits(PRINTED, PRINTED.replace(here, elsewhere))


@pytest.mark.parametrize(("right", "wrong"), FALSE)
def test_a_wrong_word_name_cause_or_shape_on_the_page_is_noticed(right, wrong):
    assert PRINTED.count(right) == 1
    assert not fits(PRINTED.replace(right, wrong), PRINTED)


def test_the_page_can_be_followed(reader):
    programs = iter(("port.py", "quantizer.py"))
    ran = 0
    for kind, block in BLOCK.findall(DOC.read_text(encoding="utf-8")):
        if kind == "python":
            Path(next(programs)).write_text(block, encoding="utf-8")
        elif kind == "diff":
            reader.edit(block)
        else:
            assert kind == "console"
            for command, expected in commands_of(block):
                if "far.npz" in command:
                    write_far()
                printed = reader.run(command)
                assert fits(expected, printed), f"{command}\n{printed}"
                ran += 1
    assert ran == 15
    assert next(programs, None) is None
