"""The fuzzing finds what it is made to find, and every reader stands a short run of it."""

import os
import random
import socket
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from fuzz_targets import TARGETS
from fuzzing import Target, kind_of, mutated, run

from refquant.arrays.errors import BadInput

pytest.importorskip("onnx")
pytest.importorskip("safetensors")


@pytest.mark.parametrize("make", TARGETS, ids=lambda make: make.__name__)
def test_a_reader_stands_a_short_run(make, tmp_path):
    report = run(make(), 100, 0, tmp_path)
    assert report.failures == []
    assert report.read + report.refused == report.runs == 100
    assert report.refused > 0


def opens(path):
    if path.read_bytes() != b"good":
        open(os.devnull).close()


def connects(path):
    if path.read_bytes() != b"good":
        socket.socket().close()


def starts(path):
    if path.read_bytes() != b"good":
        subprocess.run(["true"], check=True)


def evaluates(path):
    if path.read_bytes() != b"good":
        eval("1")


def crashes(path):
    if path.read_bytes() != b"good":
        raise ZeroDivisionError("x")


def talks(path):
    if path.read_bytes() != b"good":
        error = BadInput("a", "b")
        error.args = ("two\nlines",)
        raise error


def loops(path):
    if path.read_bytes() != b"good":
        sum(range(10**8))


@pytest.mark.parametrize(
    ("reader", "word"),
    [
        (opens, "open"),
        (connects, "socket"),
        (starts, "subprocess|os.posix_spawn|fork"),
        (evaluates, "compile|exec"),
        (crashes, "ZeroDivisionError: x"),
        (talks, "several lines"),
    ],
)
def test_every_kind_of_offence_is_noticed(reader, word, tmp_path):
    report = run(Target("bad", ".x", [b"good"], reader), 20, 0, tmp_path)
    assert report.failures
    what, data = report.failures[0]
    assert any(part in what for part in word.split("|"))
    assert bytes.fromhex(data) != b"good"


def test_a_slow_reader_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzzing.TIME_LIMIT", 0.2)
    report = run(Target("slow", ".x", [b"good"], loops), 1, 0, tmp_path)
    assert report.slowest > 0.2
    assert "seconds" in report.failures[0][0]


def hoards(path):
    if path.read_bytes() != b"good":
        np.ones(2**28, np.uint8)


def hoarding(folder):
    return run(Target("hoarding", ".x", [b"good"], hoards), 2, 0, folder)


def test_a_reader_that_needs_much_memory_is_noticed(tmp_path):
    """In a process of its own: the peak of this one may be higher already."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        report = pool.submit(hoarding, tmp_path).result()
    assert "bytes of memory" in report.failures[0][0]
    assert report.memory > 2**27


def test_parts_of_a_run_are_the_run(tmp_path):
    target = Target("some", ".x", [b"good"], lambda path: refuse(path.read_bytes()))
    whole, parts = run(target, 20, 5, tmp_path), run(target, 12, 5, tmp_path)
    parts.add(run(target, 8, 5, tmp_path, first=12))
    assert (parts.runs, parts.read, parts.refused) == (20, whole.read, whole.refused)
    assert parts.messages == whole.messages
    assert 0 < whole.read < 20


def refuse(data):
    if sum(data) % 2:
        raise BadInput("a", "is odd")


def test_a_run_can_be_repeated():
    seeds = [bytes(range(200)), b"x1234y" * 20]
    first, again = ([mutated(random.Random(i), seeds) for i in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 40
    assert all(isinstance(data, bytes) for data in first)


def test_nothing_can_be_changed_in_nothing():
    assert mutated(random.Random(0), [b""]) == b""


def test_kinds_of_messages_have_no_names_and_numbers():
    assert (
        kind_of("/tmp/a/fuzzed.pt: 'ab' has 17.5 bytes", "/tmp/a/fuzzed.pt") == ": # has # bytes"
    )
