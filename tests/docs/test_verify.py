"""docs/verify.md: its programs run, and its commands print what it says."""

import re
import runpy
import shlex
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from refquant.cli.main import main
from refquant.formats.official import weights_folder

DOC = ROOT / "docs" / "verify.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def fits(expected: str, printed: str) -> bool:
    """Whether text is as expected: ... stands for anything, a line of ... for any lines."""
    wanted, lines = spaced(expected).split("\n"), spaced(printed).split("\n")

    @cache
    def rest_fits(i: int, j: int) -> bool:
        if i == len(wanted):
            return j == len(lines)
        if wanted[i].strip() == "...":
            return rest_fits(i + 1, j) or (j < len(lines) and rest_fits(i, j + 1))
        return j < len(lines) and line_fits(wanted[i], lines[j]) and rest_fits(i + 1, j + 1)

    return rest_fits(0, 0)


def line_fits(wanted: str, line: str) -> bool:
    """The same for a line, whose columns have any width."""
    pattern = re.escape(wanted).replace(re.escape("..."), ".*").replace(re.escape("  "), " *")
    return re.fullmatch(pattern, line) is not None


def spaced(text: str) -> str:
    """Columns two blanks apart."""
    return re.sub(r"(?<=\S) {2,}", "  ", text.rstrip("\n"))


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
