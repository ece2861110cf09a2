"""The command line from outside: start-up, JSON, exit codes, one-line errors."""

import ast
import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refquant import cli
from refquant.cli import verify
from refquant.cli.main import VERBS, main, parser
from refquant.formats.catalogue import load_model, save_model
from refquant.graph.architecture import build
from refquant.verification.verify import Report

posix = pytest.mark.skipif(os.name != "posix", reason="file names that other systems refuse")


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


@pytest.mark.parametrize("verb", ["convert", "quantize"])
@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_a_folder_given_as_a_model_is_told(capsys, verb, name):
    assert "is a directory: name a model file" in failure(capsys, verb, name)


def test_convert_never_overwrites_its_input_by_default(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(build("yolov7-tiny", 1 / 8, classes=3, folded=False), tmp_path / "raw.h5")
    before = Path("raw.h5").read_bytes()
    for name in ("raw.h5", "./raw.h5", tmp_path / "raw.h5"):
        line = failure(capsys, "convert", name)
        assert line.endswith("raw.h5: is the input itself: choose another file with -o")
    assert Path("raw.h5").read_bytes() == before
    assert json_of(capsys, "convert", "raw.h5", "-o", "raw.h5", "--json")["folded"]


def test_another_suffix_leads_to_export(capsys, model_file, tmp_path):
    line = failure(capsys, "convert", model_file, "-o", tmp_path / "x.onnx")
    assert line.endswith("choose .h5 | .hdf5; refquant export writes .onnx and .npz")


def test_info_lists_the_nodes_that_other_verbs_take(capsys, model_file):
    nodes = json_of(capsys, "info", model_file, "--json")["nodes_list"]
    assert nodes[0] == {"name": "model.0.conv", "op": "conv", "inputs": ["images"]}
    assert nodes[-1]["op"] == "decode"
    assert main(["info", str(model_file)]) == 0
    short = capsys.readouterr().out
    assert main(["info", str(model_file), "--nodes"]) == 0
    lines = capsys.readouterr().out.removeprefix(short).strip().splitlines()
    assert lines[0].split() == ["node", "operation", "inputs"]
    assert [line.split() for line in lines[1:]] == [
        [node["name"], node["op"], *node["inputs"]] for node in nodes
    ]


def test_info_says_whether_what_is_stored_is_folded(capsys, tmp_path):
    raw = build("yolov7-tiny", 1 / 8, classes=3, folded=False)
    save_model(raw, tmp_path / "raw.h5")
    save_model(load_model(tmp_path / "raw.h5"), tmp_path / "folded.h5")
    stored, folded = (
        json_of(capsys, "info", tmp_path / f, "--json") for f in ("raw.h5", "folded.h5")
    )
    assert (stored["folded"], folded["folded"]) == (False, True)
    assert stored["nodes"] == folded["nodes"] < len(raw.nodes)  # numbers are those after folding
    command = ["quantize", tmp_path / "raw.h5", "--before-folding", "-o", tmp_path / "q.h5"]
    json_of(capsys, *command, "--json")
    quantized = json_of(capsys, "info", tmp_path / "q.h5", "--json")
    assert (quantized["folded"], quantized["nodes"]) == (False, len(raw.nodes))


@posix
def test_names_of_files_do_not_command_the_terminal(capsys, model_file, photo, tmp_path):
    model, image = tmp_path / "a\x1b[31m.h5", tmp_path / "b\x1b]0;x\x07\nrefquant: c.png"
    model.write_bytes(model_file.read_bytes())
    image.write_bytes(photo.read_bytes())
    for command in (["info", model], ["detect", model, image, "--size", "64"], ["convert", model]):
        main([str(word) for word in command])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "a?[31m.h5" in captured.out
    assert "b?]0;x??refquant: c.png: " in captured.out
    assert "a?[31m.h5: is the input itself" in captured.err


def test_names_of_tensors_cannot_add_a_line_to_a_verdict(capsys):
    unused = ["a\nconsistent\x1b[2K"]
    verify.show(Report("wrong", {}, "model.0.conv", None, [], unused), False)
    lines = capsys.readouterr().out.splitlines()
    assert "not used: a?consistent?[2K" in lines
    assert lines[-1] == "wrong: model.0.conv"


def test_errors_of_the_system_do_not_command_the_terminal(capsys, monkeypatch):
    def stop(*_, **__):
        raise PermissionError(13, "Permission denied", "a\x1b[31m")

    monkeypatch.setattr("refquant.formats.catalogue.load_model", stop)
    assert failure(capsys, "info", "x") == "refquant: a?[31m: Permission denied"


def test_every_result_is_printed_by_what_guards_the_terminal():
    for path in Path(cli.__file__).parent.glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if is_print(node)]
        plain = [call.lineno for call in calls if not call.keywords]
        guards = ("say", "print_json") if path.name == "common.py" else ()
        assert len(plain) == len(guards), f"{path.name}: print in lines {plain}: use say"


def is_print(node: ast.AST) -> bool:
    """Whether it is a call of print."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"


def test_what_stdout_cannot_encode_is_escaped(model_file, tmp_path, monkeypatch):
    copy = tmp_path / "\u2212.h5"
    copy.write_bytes(model_file.read_bytes())
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp1252", write_through=True))
    assert main(["info", str(copy)]) == 0
    assert b"\\u2212.h5" in written.getvalue()


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


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__.rpartition(".")[2])
def test_every_example_of_the_help_is_a_command_then_blanks_then_a_comment(verb):
    for line in verb.EXAMPLE.strip().splitlines():
        command, *_ = re.split(r" {2,}", line)
        words = shlex.split(command)
        parser().parse_args(words[words.index("refquant") + 1 :])


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
        "import refquant.formats.catalogue as f, signal, os, sys\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGINT)\n"
        "f.load_model = stop\n"
        "from refquant.cli.main import main\n"
        f"sys.exit(main(['convert', '{model_file}', '-o', '{tmp_path / 'out.h5'}']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("refquant: interrupted")
    assert list(tmp_path.iterdir()) == []
