"""Long work survives: torn lines, kills at any moment, logs of something else, full disks."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cells_data import OPTIONS, make_cells
from evaluations import finish, posix, program, wait_for
from PIL import Image
from white_cells import white_cells

from refquant.arrays.errors import BadInput
from refquant.detection.dataset import find_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.run_log import model_sha256, open_log
from refquant.detection.tasks import Outcome
from refquant.engine.engine import prepared
from refquant.quant.recipe import quantize_model, uniform

HEADER = {"format": "refquant evaluation log", "model": "a", "data": "b"}
BOX = {"image_id": 7, "category_id": 3, "bbox": [0.125, 1.0, 2.5, 1e-3], "score": 0.25}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return make_cells(tmp_path_factory.mktemp("cells") / "data")


@pytest.fixture(scope="module")
def expected(cells):
    return evaluate(white_cells(), find_dataset(cells), **OPTIONS)


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def known(path, header=HEADER):
    with open_log(path, header) as log:
        return log.known


def test_a_log_of_one_image_as_it_stands_in_the_file(tmp_path):
    with open_log(tmp_path / "log", HEADER) as log:
        log.add(Outcome(7, 99, [BOX]))
    assert (tmp_path / "log").read_text().splitlines() == [
        json.dumps(HEADER),
        '{"image_id": 7, "file_bytes": 99, "results": [[3, 0.25, 0.125, 1.0, 2.5, 0.001]]}',
    ]
    assert known(tmp_path / "log") == {7: Outcome(7, 99, [BOX])}


def test_a_log_cut_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path):
    path = tmp_path / "log"
    images = [Outcome(i, 99, [BOX | {"image_id": i}]) for i in range(3)]
    with open_log(path, HEADER) as log:
        for outcome in images:
            log.add(outcome)
    whole = path.read_bytes()
    ends = np.cumsum([len(line) for line in lines_of(path)])
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        count = max(0, int((ends <= cut).sum()) - 1)
        with open_log(path, HEADER) as log:
            assert list(log.known.values()) == images[:count]
            for outcome in images[count:]:
                log.add(outcome)
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        bytes(40) + b"\n",
        b'{"image_id": 1}\n',
        b'{"image_id": 1, "file_bytes": 2, "results": [[3, 0.5, 0, 0, 1]]}\n',
        b'{"image_id": 1, "file_bytes": 2, "results": [[3, NaN, 0, 0, 1, 1]]}\n',
        b'{"image_id": "1", "file_bytes": 2, "results": []}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_the_log_counts_up_to_its_first_line_that_is_not_valid(tmp_path, line):
    path = tmp_path / "log"
    with open_log(path, HEADER) as log:
        log.add(Outcome(7, 99, []))
    good = path.read_bytes()
    path.write_bytes(good + line + b'{"image_id": 8, "file_bytes": 2, "results": []}\n')
    assert list(known(path)) == [7]
    assert path.read_bytes() == good


@pytest.mark.parametrize("key", ["model", "data"])
def test_a_log_of_something_else_is_refused_and_left_alone(tmp_path, key):
    known(tmp_path / "log")
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(BadInput, match=rf"log of another run \(differs in: {key}\)"):
        known(tmp_path / "log", HEADER | {key: "c"})
    assert (tmp_path / "log").read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        *(b"dear diary\n", b"[]\n", b'{"format": "x"}\n', b"\0\n", b"[1]", b"a\rb\n", b"\0[1]"),
        json.dumps(HEADER | {"model": "c"}).encode(),
    ],
)
def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(BadInput, match="is not the log of an evaluation"):
        known(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == content


@pytest.mark.parametrize("zeros", [0, 40])
def test_a_first_line_that_was_cut_off_is_written_anew(tmp_path, zeros):
    whole = json.dumps(HEADER).encode()
    for cut in range(len(whole) + 1):
        (tmp_path / "log").write_bytes(whole[:cut] + bytes(zeros))
        assert known(tmp_path / "log") == {}
        assert (tmp_path / "log").read_bytes() == whole + b"\n"


@posix
def test_two_runs_cannot_write_one_log(tmp_path):
    with (
        open_log(tmp_path / "log", HEADER),
        pytest.raises(BadInput, match="another run is writing it"),
    ):
        known(tmp_path / "log")
    assert known(tmp_path / "log") == {}


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(BadInput, match="cannot be written"):
        known(tmp_path / "no" / "log")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch):
    with open_log(tmp_path / "log", HEADER) as log:
        full = os.open("/dev/full", os.O_WRONLY)
        own, log.file = log.file, full
        with pytest.raises(BadInput, match=r"No space left on device.*make room"):
            log.add(Outcome(7, 99, []))
        log.file = own
        os.close(full)


def test_a_model_has_the_same_hash_however_its_weights_are_kept():
    model = white_cells()
    assert model_sha256(prepared(model)) == model_sha256(model)
    quantized = quantize_model(model, uniform("affine", "filter", 8))
    assert model_sha256(quantized) != model_sha256(model)
    head = model.nodes[0]
    bias = head.arrays["bias"].copy()
    bias[0] = np.nextafter(bias[0], np.float32(1))
    other = replace(head, arrays={**head.arrays, "bias": bias})
    assert model_sha256(model.with_nodes((other, model.nodes[1]))) != model_sha256(model)


def test_a_resumed_run_computes_only_what_is_missing(cells, expected, tmp_path):
    log = tmp_path / "log"
    evaluate(white_cells(), find_dataset(cells), log=log, **OPTIONS)
    log.write_bytes(b"".join(lines_of(log)[:9]))  # the header and 8 images
    calls = []
    stats = evaluate(
        white_cells(),
        find_dataset(cells),
        log=log,
        progress=lambda *pair: calls.append(pair),
        **OPTIONS,
    )
    assert calls == [(8, 12), (9, 12), (10, 12), (11, 12), (12, 12)]
    assert stats == expected


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"conf": 0.5}, "protocol"),
        ({"batch": 4}, "data, protocol"),
        ({"size": 128}, "data, protocol"),
        ({"arithmetic": "math"}, "precision"),
    ],
)
def test_a_log_with_other_options_is_refused(cells, tmp_path, options, key):
    log = tmp_path / "log"
    evaluate(white_cells(), find_dataset(cells), log=log, **OPTIONS)
    with pytest.raises(BadInput, match=rf"differs in: {key}\)"):
        evaluate(white_cells(), find_dataset(cells), log=log, **(OPTIONS | options))


def test_threads_and_the_reference_kernels_may_continue_a_log(cells, expected, tmp_path):
    log = tmp_path / "log"
    evaluate(white_cells(), find_dataset(cells), log=log, **OPTIONS)
    log.write_bytes(b"".join(lines_of(log)[:11]))
    again = evaluate(
        white_cells(), find_dataset(cells), log=log, threads=2, arithmetic="ref", **OPTIONS
    )
    assert again == expected


def test_an_image_that_failed_or_changed_is_tried_again(tmp_path):
    folder, log = make_cells(tmp_path / "data", 3), tmp_path / "log"
    whole = (folder / "val" / "2.png").read_bytes()
    expected = evaluate(white_cells(), find_dataset(folder), protocol="square", size=96)
    (folder / "val" / "2.png").write_bytes(bytes(len(whole)))  # the same size
    options = {"protocol": "square", "size": 96, "log": log}
    stats = evaluate(white_cells(), find_dataset(folder), **options)
    assert [failure["image"] for failure in stats.failed] == ["2.png"]
    (folder / "val" / "2.png").write_bytes(whole)
    assert evaluate(white_cells(), find_dataset(folder), **options) == expected
    Image.new("RGB", (96, 96)).save(folder / "val" / "3.png")
    changed = evaluate(white_cells(), find_dataset(folder), **options)
    assert changed.results != expected.results
    assert [r for r in changed.results if r["image_id"] < 3] == [
        r for r in expected.results if r["image_id"] < 3
    ]


@posix
@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_results_are_the_same_bytes(cells, tmp_path):
    rng = np.random.default_rng(20)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert finish(program(cells, plain)) == ""
    wanted = (plain / "results.json").read_bytes()
    assert len(json.loads(wanted)) > 12
    results, log = tmp_path / "results.json", tmp_path / "log"
    for kill in range(21):
        process = program(cells, tmp_path, 0.05)
        if kill < 20:
            wait_for(process, 0)
            time.sleep(rng.uniform(0, 0.15))  # up to two images further
            process.send_signal(signal.SIGKILL)
        finish(process)
        if results.exists():  # it was done before the signal came, or this is the last run
            assert results.read_bytes() == wanted
            results.unlink()
            log.unlink()
        elif kill % 4 == 3:  # and sometimes the log itself is torn
            log.write_bytes(log.read_bytes()[: -rng.integers(1, 4000)])
    assert not log.exists()
