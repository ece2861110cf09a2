"""The ground floor: the one error, tables, atomic files."""

import os
import pickle
from typing import NamedTuple

import pytest

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table


class Item(NamedTuple):
    name: str


def test_an_error_is_one_line_with_where_what_and_remedy():
    error = BadInput("photo.jpg", "has 0\nbytes", "choose another file")
    assert str(error) == "photo.jpg: has 0 bytes: choose another file"
    assert str(BadInput("photo.jpg", "is empty")) == "photo.jpg: is empty"


def test_an_error_cannot_command_the_terminal():
    assert str(BadInput("\x1b[2Jx", "\x9b1m\u202e\udc80", "\x07")) == "?[2Jx: ?1m??: ?"
    assert str(BadInput("caf\u00e9 \u4eba", "\U0001f6b2")) == "caf\u00e9 \u4eba: \U0001f6b2"


def test_an_error_travels_between_processes():
    error = BadInput("photo.jpg", "is empty", "choose another file")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_table_keeps_its_order_and_names_the_choices():
    table = Table("fruit", (Item("pear"), Item("apple")))
    assert list(table) == ["pear", "apple"]
    assert table["apple"] == Item("apple")
    assert "plum" not in table
    with pytest.raises(BadInput, match=r"fruit='plum': choose pear \| apple"):
        table["plum"]


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_written_is_synced_before_it_is_named(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("name"), replace(*a)))
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert calls[:2] == ["sync", "name"]


def test_a_missing_folder_is_told_in_one_line(tmp_path):
    with pytest.raises(BadInput, match="cannot be written"), atomic_path(tmp_path / "no/file"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_file_gets_the_mode_that_others_get(tmp_path):
    (tmp_path / "other").touch()
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
