"""docs/verify.md: its programs run, and its commands print what it says."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from refquant.cli.main import main
from refquant.formats.official import weights_folder

DOC = Path(__file__).parents[1] / "docs" / "verify.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def pattern_of(expected: str) -> str:
    """A regular expression for printed text: ... stands for anything, columns have any width."""
    text = re.escape(spaced(expected)).replace(re.escape("..."), r"[\s\S]*?")
    return text.replace(re.escape("  "), r"\s*")


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
    shutil.copy(Path(str(weights_folder())) / image, Path("weights") / image)
    return Reader(capsys)


def write_far() -> None:
    """The last output of the port, all numbers 1.0001 times what they were."""
    last = "model.105.decode"
    with np.load("theirs.npz") as arrays:
        np.savez("far.npz", **{last: arrays[last] * np.float32(1.0001)})


def test_a_pattern_takes_what_it_says_and_nothing_else():
    pattern = pattern_of("model.1  wrong ... phase\n...\nH6\n")
    assert re.fullmatch(pattern, "model.1  wrong 1.2 phase\nH1\nH6")
    assert not re.fullmatch(pattern, "model.1  right 1.2 phase\nH1\nH6")
    assert not re.fullmatch(pattern, "model.1  wrong 1.2 phase\nH1\nH6\nmore")


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
                printed = spaced(reader.run(command))
                assert re.fullmatch(pattern_of(expected), printed), f"{command}\n{printed}"
                ran += 1
    assert ran == 15
    assert next(programs, None) is None
