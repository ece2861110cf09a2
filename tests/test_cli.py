"""The command line from outside: start-up, JSON, exit codes, one-line errors."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refquant.cli.main import VERBS, main, parser
from refquant.formats import save_model
from refquant.graph.architecture import build


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    """A small YOLOv7-tiny with three classes, as HDF5."""
    path = tmp_path_factory.mktemp("model") / "small.h5"
    save_model(build("yolov7-tiny", 1 / 8, classes=3), path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def json_of(capsys, *arguments: object) -> dict:
    assert main([str(a) for a in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def failure(capsys, *arguments: object) -> str:
    """The one line on stderr of a run that must leave with exit code 3."""
    assert main([str(a) for a in arguments]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("refquant: ")
    return line


def test_convert_says_what_it_wrote(capsys, model_file, tmp_path):
    result = json_of(capsys, "convert", model_file, "-o", tmp_path / "copy.h5", "--json")
    assert result["bytes"]["file"] == (tmp_path / "copy.h5").stat().st_size
    again = json_of(capsys, "convert", tmp_path / "copy.h5", "-o", tmp_path / "c.h5", "--json")
    assert again["content_sha256"] == result["content_sha256"]


def test_info_counts_bytes_in_every_way(capsys, model_file):
    result = json_of(capsys, "info", model_file, "--json")
    assert set(result["bytes"]) == {"fp32", "fp16", "nominal", "packed", "entropy", "file"}
    assert result["bytes"]["file"] == model_file.stat().st_size
    assert len(result["layers"]) == 58
    assert result["classes"] == 3


def test_detect_gives_the_json_that_others_rely_on(capsys, model_file, photo, tmp_path):
    result = json_of(
        capsys, "detect", model_file, photo, "--size", 64, "--conf", 0.0, "--json",
        "-o", tmp_path / "found",
    )  # fmt: skip
    (entry,) = result["images"]
    assert entry["image"] == str(photo)
    row = entry["detections"][0]
    assert set(row) == {"class", "name", "score", "box"}
    assert row["name"] == f"class {row['class']}"
    x1, y1, x2, y2 = row["box"]
    assert 0 <= x1 <= x2 <= 64
    assert 0 <= y1 <= y2 <= 48
    with Image.open(tmp_path / "found/photo.png") as picture:
        assert picture.size == (64, 48)


def test_one_bad_image_does_not_lose_the_others(capsys, model_file, photo, tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    command = ["detect", str(model_file), str(text), str(photo), "--size", "64", "--json"]
    assert main(command) == 3
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [entry["image"] for entry in result["images"]] == [str(photo)]
    assert [entry["image"] for entry in result["failed"]] == [str(text)]
    assert str(text) in captured.err


def test_quantize_writes_what_it_reports_and_the_file_detects(capsys, model_file, photo, tmp_path):
    output = tmp_path / "q.h5"
    result = json_of(capsys, "quantize", model_file, "--bits", 4, "-o", output, "--json")
    assert result["bytes"]["file"] == output.stat().st_size
    assert result["layers"][0]["code_bits"] == 4
    info = json_of(capsys, "info", output, "--json")
    assert info["bytes"] == result["bytes"]
    found = json_of(capsys, "detect", output, photo, "--size", 64, "--json")
    assert len(found["images"]) == 1


def test_evaluate_gives_the_twelve_numbers(capsys, model_file, photo, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "val/photo.png").write_bytes(photo.read_bytes())
    categories = [{"id": i + 1, "name": f"class {i}"} for i in range(3)]
    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400}
    document = {
        "images": [{"id": 7, "file_name": "photo.png", "width": 64, "height": 48}],
        "annotations": [{**box, "iscrowd": 0}],
        "categories": categories,
    }
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(document))
    results = tmp_path / "results.json"
    stats = json_of(
        capsys, "evaluate", model_file, "--data", tmp_path, "--size", 64, "--json",
        "--results", results,
    )  # fmt: skip
    twelve = {"AP", "AP50", "AP75", "APs", "APm", "APl"}
    twelve |= {"AR1", "AR10", "AR100", "ARs", "ARm", "ARl"}
    assert set(stats) == twelve | {"images", "per_class", "failed"}
    assert stats["images"] == 1
    assert {row["image_id"] for row in json.loads(results.read_text())} <= {7}


@pytest.mark.parametrize("verb", ["info", "convert", "detect", "quantize"])
@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("missing.h5", None, "does not exist"),
        ("text.txt", b"hello, this is a text\n", "text file"),
        ("cut.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "cut off"),
        ("empty.pt", b"", "empty"),
    ],
    ids=["missing", "text", "cut", "empty"],
)
def test_a_file_that_is_no_model_is_one_line_and_exit_3(
    capsys, tmp_path, photo, verb, name, content, word
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    output = tmp_path / "out.h5"
    extra = {"info": [], "detect": [photo]}.get(verb, ["-o", output])
    line = failure(capsys, verb, path, *extra)
    assert str(path) in line
    assert word.lower() in line.lower()
    assert not output.exists()


def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(capsys, tmp_path):
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    pickled = b"\x80\x02cos\nsystem\nX" + len(f"touch {mark}").to_bytes(4, "little")
    pickled += f"touch {mark}".encode() + b"\x85R."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickled)
        archive.writestr("evil/version", "3\n")
    line = failure(capsys, "convert", path, "-o", tmp_path / "out.h5")
    assert "os.system" in line
    assert not mark.exists()
    assert not (tmp_path / "out.h5").exists()


def test_an_output_folder_that_is_missing_is_told(capsys, model_file, tmp_path):
    line = failure(capsys, "convert", model_file, "-o", tmp_path / "no/such/out.h5")
    assert "cannot be written" in line


def test_a_data_set_must_be_named(capsys, model_file):
    assert "--data" in failure(capsys, "evaluate", model_file)


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["info"], ["detect", "a", "b", "--conf", "2"]]
)
def test_wrong_usage_leaves_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_every_verb_has_help_with_examples_and_json():
    text = parser().format_help()
    for verb in VERBS:
        name = verb.__name__.rsplit(".", 1)[-1]
        assert name in text
        with pytest.raises(SystemExit):
            main([name, "--help"])


@pytest.mark.parametrize("arguments", [["--help"], ["info", "SMALL"]])
def test_numba_is_not_imported_for_what_computes_nothing(arguments, model_file):
    arguments = [str(model_file) if a == "SMALL" else a for a in arguments]
    script = (
        "import sys\nfrom refquant.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False False"


def test_a_reader_that_goes_away_is_no_error(model_file):
    command = f"{sys.executable} -m refquant info {model_file} --layers | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_an_interrupt_leaves_with_130_and_no_file(model_file, tmp_path):
    script = (
        "import refquant.formats as f, signal, os, sys\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGINT)\n"
        "f.load_model = stop\n"
        "from refquant.cli.main import main\n"
        f"sys.exit(main(['convert', '{model_file}', '-o', '{tmp_path / 'out.h5'}']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("refquant: interrupted")
    assert list(tmp_path.iterdir()) == []
