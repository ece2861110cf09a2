"""The sweep: what it computes, that it goes on after anything, that it refuses what it must."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import SUPPORT
from study_cells import CONFIGURATIONS, make_grid_data, noisy_cells, run

import refquant
from refquant.arrays.errors import BadInput
from refquant.detection.coco_json import Category
from refquant.detection.dataset import find_dataset
from refquant.detection.evaluate import evaluate
from refquant.detection.workers import process_pool
from refquant.quant.recipe import quantize_model, uniform
from refquant.study.bootstrap import compare
from refquant.study.store import Store
from refquant.study.sweep import Work, study

posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals, sets POSIX limits")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_grid_data(tmp_path_factory.mktemp("cells") / "data")


@pytest.fixture(scope="module")
def done(data, tmp_path_factory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    results = run(data, folder)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def expected(done) -> dict:
    return json.loads((done / "results.json").read_text())


class Stop(BaseException):
    """Ends a study from within."""


def stopping_after(count: int) -> Work:
    """Work that is ended after so many steps."""
    left = iter(range(count))

    def progress(*what: object) -> None:
        if next(left, None) is None:
            raise Stop

    return Work(progress=progress)


def test_every_configuration_has_its_numbers(expected):
    names = [row["name"] for row in expected["configurations"]]
    assert names == ["float32", *(c.name for c in CONFIGURATIONS)]
    first, *rest = expected["configurations"]
    assert (first["AP"] > 0, first["loss"]["points"]) == (True, 0.0)
    for row in rest:
        assert row["loss"]["points"] == 100 * (row["AP"] - first["AP"])
        assert row["loss"]["low"] <= row["loss"]["high"]
        assert set(row["bytes"]) == {"fp32", "fp16", "nominal", "packed", "entropy", "file"}
        assert None not in row["bytes"].values()
    assert len({row["AP"] for row in rest}) > 1


def test_ap_and_interval_are_those_of_evaluate_and_compare(data, expected):
    dataset = find_dataset(data)
    model = noisy_cells()
    stored = quantize_model(model, uniform("affine", "layer", 2))
    a, b = (evaluate(m, dataset, size=96) for m in (stored, model))
    pair = compare(dataset, a.results, b.results, resamples=20)
    row = next(r for r in expected["configurations"] if r["name"] == "affine layer 2")
    assert row["AP"] == a.AP
    assert row["loss"]["points"] == pytest.approx(100 * pair.difference, abs=1e-9)
    assert (row["loss"]["low"], row["loss"]["high"]) == pytest.approx(
        (100 * pair.low, 100 * pair.high), abs=1e-9
    )
    assert row["loss"]["verdict"] == pair.verdict
    assert pair.verdict == "worse"


def test_a_finished_study_computes_nothing_again(data, done, expected, monkeypatch):
    monkeypatch.setattr("refquant.study.sweep.evaluate", None)
    monkeypatch.setattr("refquant.study.sweep.quantized", None)
    assert run(data, done) == expected


def test_predictions_are_kept_and_logs_are_not(done):
    assert len(list((done / "predictions").iterdir())) == 1 + len(CONFIGURATIONS)
    assert not list((done / "state").glob("*.log"))


def test_a_study_ended_after_any_step_goes_on_to_the_same_results(data, tmp_path, expected):
    for steps in range(0, 1000, 7):
        try:
            results = run(data, tmp_path, stopping_after(steps))
            break
        except Stop:
            continue
    assert steps > 14
    assert results == expected


@posix
def test_a_study_killed_at_random_moments_ends_with_the_same_results(data, tmp_path, expected):
    rng = np.random.default_rng(int(os.environ.get("REFQUANT_SEED", "4")))
    script = SUPPORT / "study_cells.py"
    command = [sys.executable, script, data, tmp_path, "0.01"]
    root = str(Path(refquant.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    for _ in range(int(os.environ.get("REFQUANT_KILLS", "20"))):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.3)))
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "results.json").exists()
    subprocess.run([*command[:-1], "0"], check=True, stdout=subprocess.DEVNULL, env=environment)
    assert json.loads((tmp_path / "results.json").read_text()) == expected


def test_workers_change_nothing(data, tmp_path, expected):
    with process_pool(2) as executor:
        assert run(data, tmp_path, Work(executor=executor)) == expected


def test_a_damaged_file_is_computed_again(data, done, tmp_path, expected):
    folder = tmp_path / "copy"
    shutil.copytree(done, folder)
    first, second, *_ = sorted((folder / "state").glob("*.ap.json"))
    first.write_bytes(first.read_bytes()[:-40])
    second.write_text(second.read_text().replace('"AP": 0', '"AP": 1', 1))
    assert run(data, folder) == expected


@pytest.mark.parametrize(
    ("changes", "what"), [({"size": 64}, "protocol"), ({"seed": 1}, "bootstrap")]
)
def test_the_folder_of_another_study_is_refused_and_left_alone(data, done, changes, what):
    before = (done / "study.json").read_bytes()
    with pytest.raises(BadInput, match=rf"holds another study \(differs in: {what}\)"):
        run(data, done, **changes)
    assert (done / "study.json").read_bytes() == before


def test_an_image_that_changed_makes_it_another_study(data, done, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    shutil.copy(folder / "val" / "1.png", folder / "val" / "2.png")
    with pytest.raises(BadInput, match=r"differs in: data\)"):
        run(folder, done)


def test_a_folder_with_a_strange_study_json_is_refused(data, tmp_path):
    (tmp_path / "study.json").write_text("dear diary")
    with pytest.raises(BadInput, match="is not the record of a study"):
        run(data, tmp_path)


def test_an_image_that_cannot_be_read_ends_the_study_by_name(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    (folder / "val" / "3.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"3\.png"):
        run(folder, tmp_path / "out")


def test_data_without_boxes_are_refused(data, tmp_path):
    empty = replace(find_dataset(data), truths=())
    with pytest.raises(BadInput, match="has no true boxes"):
        study(noisy_cells(), empty, tmp_path, CONFIGURATIONS)


@pytest.mark.parametrize("resamples", [1, 0, -3])
def test_too_few_resamples_are_refused_before_the_work(data, tmp_path, resamples):
    with pytest.raises(BadInput, match=f"resamples={resamples}"):
        run(data, tmp_path / "out", resamples=resamples)
    assert not (tmp_path / "out").exists()


def test_resamples_without_true_boxes_are_refused_before_the_work(data, tmp_path):
    dataset = find_dataset(data)
    first = replace(dataset, truths=dataset.truths[:1])  # seed 2 draws its image not twice
    with pytest.raises(BadInput, match=r"resamples=2: [01] of them have a true box"):
        study(noisy_cells(), first, tmp_path / "out", CONFIGURATIONS, resamples=2, seed=2)
    assert not (tmp_path / "out").exists()


def test_categories_that_the_model_does_not_know_are_refused(data, tmp_path):
    other = replace(find_dataset(data), categories=(Category(4, "zebra"),))
    with pytest.raises(BadInput, match="zebra"):
        study(noisy_cells(), other, tmp_path, CONFIGURATIONS)


@posix
def test_a_full_disk_is_one_error_and_nothing_is_lost(data, tmp_path, expected):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(BadInput, match="File too large"):
            run(data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(data, tmp_path) == expected


def test_a_configuration_of_another_study_has_another_key(tmp_path):
    one = Store(tmp_path / "a", {"model": "x"})
    two = Store(tmp_path / "b", {"model": "y"})
    assert one.key(CONFIGURATIONS[0]) != two.key(CONFIGURATIONS[0])
    assert len({one.key(c) for c in CONFIGURATIONS}) == len(CONFIGURATIONS)
