"""JSON files of strangers that are not even parsed; test_dataset.py has those that are."""

import os

import pytest

from refquant.arrays.errors import BadInput
from refquant.detection import coco_json
from refquant.detection.coco_json import json_in, read_annotations


def test_a_worked_example(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [1, 2.5]}')
    assert json_in(tmp_path / "x.json") == {"a": [1, 2.5]}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "x.json")
    with pytest.raises(BadInput, match=r"x\.json: is not an ordinary file"):
        read_annotations(tmp_path / "x.json")


def test_a_file_beyond_the_limit_is_not_even_read(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("0123456789")
    monkeypatch.setattr(coco_json, "MOST_BYTES", 9)
    with pytest.raises(BadInput, match="10 bytes are more than 9"):
        read_annotations(path)
    monkeypatch.setattr(coco_json, "MOST_BYTES", 10)
    with pytest.raises(BadInput, match="is not JSON"):
        read_annotations(path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"x\.json: cannot be read \(No such file"):
        json_in(tmp_path / "x.json")
