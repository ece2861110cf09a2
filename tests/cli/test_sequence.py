"""golden, export, verify: README's own lines, and the same with --size and --like."""

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from small_model import small_model, with_node

from refquant.cli.main import main
from refquant.formats.catalogue import load_model, save_model
from refquant.verification.golden.file import open_golden
from refquant.verification.golden.record import record_golden

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WIDE, TALL = (0, 20, 160, 120), (20, 0, 110, 160)  # left, top, right, bottom: 100x160, 160x90


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with an oblong photo."""
    monkeypatch.chdir(tmp_path)
    cropped("photo.png", WIDE)
    return tmp_path


def cropped(name: str, box: tuple[int, int, int, int]) -> None:
    with Image.open(ROOT / "weights/demo/val/00003.png") as picture:
        picture.crop(box).save(name)


def done(capsys, line: str, code: int = 0) -> dict:
    """The JSON of a command that must leave with that code."""
    assert main([*shlex.split(line), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def changed(name: str) -> None:
    """The model demo with one weight of one filter doubled."""
    model = load_model("demo")
    node = next(node for node in model.nodes if node.op == "conv")
    weight = node.arrays["weight"].copy()
    weight[0, 0, 1, 1] *= 2
    save_model(with_node(model, node.name, arrays={**node.arrays, "weight": weight}), name)


def readme_lines() -> list[str]:
    """README's three lines, of the model demo and the oblong photo."""
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"^refquant ((?:golden|export|verify) [^#\n]*)", text, re.MULTILINE)
    assert [line.split()[0] for line in found] == ["golden", "export", "verify"]
    return [line.replace("yolov7.h5", "demo").replace("photo.jpg", "photo.png") for line in found]


def test_the_lines_of_the_readme_fit_each_other_for_an_oblong_photo(folder, capsys):
    golden, export, verify = readme_lines()
    done(capsys, golden)
    assert done(capsys, export)["input"] == [1, 3, 192, 192]
    report = done(capsys, verify)
    assert report["verdict"] == "consistent"
    assert {row["verdict"] for row in report["nodes"]} == {"consistent"}
    changed("changed.h5")
    done(capsys, export.replace("demo", "changed.h5"))
    report = done(capsys, f"{verify} --no-blame", code=1)
    assert (report["verdict"], report["first_wrong"]) == ("wrong", "model.0.conv")
    cropped("photo.png", TALL)
    done(capsys, golden.replace("golden.h5", "other.h5"))
    assert done(capsys, "verify golden.h5 other.h5 --no-blame", code=1)["verdict"] == "wrong"


def test_an_export_like_a_golden_takes_its_rectangle(folder, capsys):
    done(capsys, "golden demo photo.png --size 96 -o golden.h5")
    facts = done(capsys, "export demo --like golden.h5 -o like.onnx")
    assert facts["input"] == [1, 3, 64, 96]
    assert done(capsys, "verify golden.h5 like.onnx")["verdict"] == "consistent"
    changed("changed.h5")
    done(capsys, "export changed.h5 --like golden.h5 -o changed.onnx")
    report = done(capsys, "verify golden.h5 changed.onnx --no-blame", code=1)
    assert report["first_wrong"] == "model.0.conv"
    done(capsys, "export demo --size 96 -o square.onnx")
    assert main(["verify", "golden.h5", "square.onnx"]) == 3
    assert "refquant export --like" in capsys.readouterr().err


@pytest.mark.parametrize(("box", "size", "shape"), [(WIDE, 96, (64, 96)), (TALL, 64, (64, 64))])
def test_a_size_keeps_the_rectangle_and_its_hash(folder, capsys, box, size, shape):
    cropped("photo.png", box)
    line = f"golden demo photo.png --size {size} -o golden.h5"
    content = done(capsys, line)["content_sha256"]
    assert input_of("golden.h5") == (1, 3, *shape)
    model = load_model("demo")
    assert record_golden(model, "photo.png", "python.h5", size=size) == content
    square = record_golden(model, "photo.png", "square.h5", size=size, rectangle=False)
    assert (square == content) == (shape[0] == shape[1])
    assert input_of("square.h5") == (1, 3, size, size)


def test_without_a_size_python_keeps_the_rectangle_and_the_command_line_the_square(folder, capsys):
    # The hashes that `refquant golden demo photo.png` had before, and has with --size 192.
    old = "8973ea3332ef340ebc96e7f85c6642006b9e10c83046c6a09eb3e7b0befd8398"
    model = load_model("demo")
    assert record_golden(model, "photo.png", "python.h5") == old
    assert done(capsys, "golden demo photo.png --size 192 -o sized.h5")["content_sha256"] == old
    content = done(capsys, "golden demo photo.png -o golden.h5")["content_sha256"]
    assert content == record_golden(model, "photo.png", "square.h5", rectangle=False) != old
    assert (input_of("sized.h5"), input_of("golden.h5")) == ((1, 3, 128, 192), (1, 3, 192, 192))


def input_of(name: str) -> tuple[int, ...]:
    with open_golden(name) as golden:
        return golden.records["images"].shape


def test_both_squares_are_rounded_up_to_the_stride(folder, capsys):
    model = small_model()
    save_model(model.with_source({**model.source, "input_size": "60"}), "m.h5")
    done(capsys, "golden m.h5 photo.png -o golden.h5")
    assert input_of("golden.h5") == (1, 3, 64, 64)
    assert done(capsys, "export m.h5 -o m.onnx")["input"] == [1, 3, 64, 64]


def test_a_golden_of_several_images_is_exported_for_as_many(folder, capsys):
    save_model(small_model(), "m.h5")
    np.save("x.npy", np.zeros((2, 3, 16, 24), np.float32))
    done(capsys, "golden m.h5 x.npy -o golden.h5")
    assert done(capsys, "export m.h5 --like golden.h5 -o m.onnx")["input"] == [2, 3, 16, 24]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--like golden.h5 --size 64 -o m.onnx", 2, "not allowed with argument"),
        ("--like golden.h5 --batch 1 -o m.onnx", 3, "leave out --batch or --like"),
        ("--like golden.h5 -o m.npz", 3, "leave --like out"),
        ("--like m.h5 -o m.onnx", 3, "a golden is a file that refquant golden wrote"),
        ("--like photo.png -o m.onnx", 3, "a golden is a file that refquant golden wrote"),
        ("--like none.h5 -o m.onnx", 3, "none.h5: cannot be read"),
        ("--like golden.h5 -o m.onnx", 0, ""),
    ],
)
def test_like_is_refused_where_it_says_nothing(folder, capsys, options, code, words):
    save_model(small_model(), "m.h5")
    record_golden(small_model(), np.zeros((1, 3, 16, 24), np.float32), "golden.h5")
    try:
        found = main(["export", "m.h5", *options.split()])
    except SystemExit as stop:
        found = stop.code
    assert found == code
    assert words in capsys.readouterr().err
    assert ("m.onnx" in {path.name for path in folder.iterdir()}) == (code == 0)
