"""bench/: every script starts, says its command and is listed; what pages name is there."""

import re
import subprocess
import sys

import pytest
from places import ROOT

FILES = sorted(path for path in ROOT.glob("bench/**/*.py") if path.name != "__init__.py")
SCRIPTS = [path for path in FILES if '\nif __name__ == "__main__":\n' in path.read_text()]
END = (".py", "")  # of a module, of a room
START = """
import importlib, runpy, sys
names = sys.argv[1:]
for name in names:
    if hasattr(importlib.import_module(name), "argparse"):
        sys.argv = [name, "--help"]
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code, name
"""


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def missing(text):
    """Paths into bench/, and modules of it, that a text names and that do not exist."""
    paths = re.findall(r"\bbench/[\w./-]*\w", text)
    modules = [name.replace(".", "/") for name in re.findall(r"\bbench(?:\.[a-z]\w*)+", text)]
    there = {path for path in paths if (ROOT / path).exists()}
    there |= {name for name in modules if any((ROOT / f"{name}{end}").exists() for end in END)}
    return [name for name in paths + modules if name not in there]


def test_every_script_starts_from_the_root_of_the_project():
    command = [sys.executable, "-W", "ignore", "-c", START, *map(module, FILES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") > 10


@pytest.mark.parametrize("script", SCRIPTS, ids=module)
def test_every_script_says_its_command_and_is_listed(script):
    assert f"python -m {module(script)}" in script.read_text(encoding="utf-8").split('"""')[1]
    listed = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    assert f"`{module(script)}`" in listed or f"`{script.name}`" in listed


def test_everything_of_bench_that_is_named_exists():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/**/*.md")]
    folders = ("refquant", "weights", "bench", "tests")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in [*pages, *code]}
    assert {str(path): wrong for path, text in texts.items() if (wrong := missing(text))} == {}


@pytest.mark.parametrize("name", ["bench" + "/nothing.md", "python -m bench" + ".speed.nothing"])
def test_what_does_not_exist_would_be_found(name):
    assert len(missing(f"see {name}.")) == 1
