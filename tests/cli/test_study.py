"""`refquant study` from outside: JSON, tables, interruption, bad input, a full disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_results import results_of
from study_cells import make_grid_data, noisy_cells

from refquant.cli.main import main
from refquant.cli.study import show
from refquant.formats.catalogue import save_model
from refquant.study.configurations import MEMBERS, Configuration

posix = pytest.mark.skipif(os.name != "posix", reason="sets POSIX limits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    make_grid_data(folder / "data")
    save_model(noisy_cells(), folder / "model.h5")
    return folder


def words(folder, output, *more) -> list[str]:
    begin = ["study", folder / "model.h5", "--data", folder / "data", "--size", 96]
    return [str(word) for word in (*begin, "--resamples", 20, "-o", output, *more)]


def failure(capsys, *arguments) -> str:
    assert main([str(word) for word in arguments]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_json_is_results_json(capsys, folder, tmp_path):
    assert main(words(folder, tmp_path, "--quick", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "results.json").read_text())
    names = [row["name"] for row in printed["configurations"]]
    assert names[:4] == ["float32", "affine filter 4", "pwlq filter 4", "symmetric filter 4"]
    assert len(names) == 10


def test_grids_of_ones_own(capsys, folder, tmp_path):
    own = ("--schemes", "affine,pwlq:search", "--granularities", "layer,c-shape", "--bits", "5,3")
    assert main(words(folder, tmp_path, *own)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("affine layer 5")
    assert sum(line.startswith("pwlq:search") for line in lines) == 4
    assert lines[-1] == str(tmp_path / "report.html")


def test_one_line_says_why_a_combination_loses_more_and_none_where_it_does_not(capsys, tmp_path):
    single, combined = (Configuration("affine", name, 4) for name in ("filter", MEMBERS))

    def lines(ap: float) -> list[str]:
        show(results_of([(single, 0.36, 0.0), (combined, ap, 0.01)]), tmp_path)
        return [line for line in capsys.readouterr().out.splitlines() if "smallest loss" in line]

    (why,) = lines(0.22)
    assert why.startswith(
        "affine combination 4 loses 28.0 points of AP, affine filter 4 alone 14.0"
    )
    assert lines(0.45) == []


def test_a_limit_spreads_images_evenly(capsys, folder, tmp_path):
    own = ("--schemes", "affine", "--limit", 4, "--json")
    assert main(words(folder, tmp_path, *own)) == 0
    assert json.loads(capsys.readouterr().out)["data"]["images"] == 4


def test_ctrl_c_says_how_to_go_on(capsys, folder, tmp_path, monkeypatch):
    from refquant.study import sweep

    real, calls = sweep.evaluate, []

    def evaluate(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(sweep, "evaluate", evaluate)
    assert main(words(folder, tmp_path, "--quick")) == 130
    error = capsys.readouterr().err
    assert error.endswith("interrupted; what is done stands in "
                          f"{tmp_path}, the same command goes on from there\n")  # fmt: skip
    assert "configurations are evaluated so far" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(sweep, "evaluate", real)
    assert main(words(folder, tmp_path, "--quick")) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bits": "9"}, "choose 2..8"),
        ({"schemes": "afine"}, "afine"),
        ({"granularities": "filters"}, "filters"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_bad_choices_are_one_line(capsys, folder, tmp_path, changes, says):
    more = [word for key, value in changes.items() for word in (f"--{key}", value)]
    line = failure(capsys, *words(folder, tmp_path / "out"), *more)
    assert says in line


@pytest.mark.parametrize("seed", ["-1", "x"])
def test_a_seed_that_is_none_is_wrong_usage(capsys, folder, tmp_path, seed):
    with pytest.raises(SystemExit) as stop:
        main(words(folder, tmp_path / "out", "--seed", seed))
    assert stop.value.code == 2
    assert "argument --seed:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_that_do_not_fit_the_model_are_one_line(capsys, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    file = data / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 9, "name": "zebra"})
    file.write_text(json.dumps(content))
    line = failure(capsys, *words(folder, tmp_path / "out", "--data", data))
    assert "3 categories" in line and "2 classes (zebra)" in line


def test_an_unknown_category_in_an_annotation_is_one_line(capsys, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    file = data / "annotations" / "instances_val.json"
    file.write_text(file.read_text().replace('"category_id": 4', '"category_id": 5', 1))
    assert "no category 5" in failure(capsys, *words(folder, tmp_path / "out", "--data", data))


def test_images_that_are_missing_or_other_are_one_line(capsys, folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder / "data", data)
    (data / "val" / "2.png").unlink()
    line = failure(capsys, *words(folder, tmp_path / "out", "--data", data))
    assert "1 of 8 images missing: 2.png" in line
    shutil.rmtree(data / "val")
    (data / "val").mkdir()
    line = failure(capsys, *words(folder, tmp_path / "out", "--data", data))
    assert "8 of 8 images missing" in line


def test_a_quantized_model_is_refused(capsys, folder, tmp_path):
    command = ["quantize", str(folder / "model.h5"), "-o", str(tmp_path / "q.h5"), "--json"]
    assert main(command) == 0
    capsys.readouterr()
    line = failure(
        capsys, "study", tmp_path / "q.h5", "--data", folder / "data", "-o", tmp_path / "out"
    )
    assert "is quantized already" in line


def test_the_output_must_be_a_folder(capsys, folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be a folder" in failure(capsys, *words(folder, tmp_path / "file"))


@posix
def test_a_full_disk_leaves_with_3_and_the_same_command_goes_on(folder, tmp_path):
    def run(limit: str) -> subprocess.CompletedProcess[str]:
        code = (
            "import resource, sys; from refquant.cli.main import main;"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY));"
            "sys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, *words(folder, tmp_path, "--schemes", "affine")]
        return subprocess.run(command, capture_output=True, text=True)

    full = run("3000")
    assert full.returncode == 3
    assert len(full.stderr.splitlines()) == 1
    assert "cannot be written" in full.stderr
    assert run("resource.RLIM_INFINITY").returncode == 0
