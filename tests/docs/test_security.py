"""SECURITY.md names tests that exist, and files that are there."""

import configparser
import re

from places import ROOT, TESTS

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists():
    files = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    there = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.M)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named - there == set()


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", PAGE))
    assert {name for name in named if not (TESTS / name).exists()} == set()
    linked = set(re.findall(r"\]\(([\w/.]+)\)", PAGE))
    assert linked >= {"bench/security/fuzz.md", "bench/security/kills.md"}
    assert {name for name in linked if not (ROOT / name).exists()} == set()


def test_the_page_counts_the_files_whose_branches_are_counted():
    lists = configparser.ConfigParser()
    lists.read(TESTS / "readers.coveragerc")
    found = [
        {path for pattern in lists["run"][key].split() for path in ROOT.glob(pattern)}
        for key in ("include", "omit")
    ]
    assert all(found)
    (count,) = re.findall(r"in (\d+) files, as this command counts them", PAGE)
    assert int(count) == len(found[0] - found[1])
