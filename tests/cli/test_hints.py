"""What a newcomer types first: a wrong line is answered in two lines, the second with a hint."""

import re
import shlex

import pytest
from PIL import Image
from small_model import small_model

from refquant.cli.main import main, parser
from refquant.formats.catalogue import save_model

HINTS = {
    "export m.h5 m.onnx": "name the file to write with -o: -o m.onnx",
    "export m.h5": "for example refquant export yolov7.h5 -o yolov7.onnx",
    "export -o m.onnx": "required: model: for example refquant export yolov7.h5 -o yolov7.onnx",
    "export --onnx m.h5": "the suffix of -o says the format",
    "export m.h5 -o m.onnx --format onnx": "the suffix of -o says the format",
    "export m.h5 -o m.onnx --imgsz 640": "did you mean --size?",
    "export m.h5 -o m.onnx --size 320x640": "write --size 320 640",
    "export --size 320 m.h5 -o m.onnx": "the model stands before --size",
    "export m.h5 -o m.onnx --opset 12": "the opset is always 17",
    "convert yolov7.pt yolov7.h5": "name the file to write with -o: -o yolov7.h5",
    "fetch yolov7 tiny.pt": "name the file to write with -o: -o tiny.pt",
    "quantize m.h5 q.h5": "name the file to write with -o: -o q.h5",
    "quantize m.h5 q.h5 --bits 8": "name the file to write with -o: -o q.h5",
    "quantize m.h5 affine filter 4": "--scheme affine --granularity filter --bits 4",
    "quantize m.h5 -o q.h5 --bits int8": "'int8' is not a whole number",
    "quantize m.h5 -o q.h5 --int8": "did you mean --bits 8?",
    "quantize m.h5 -o q.h5 --per-channel": "did you mean --granularity filter?",
    "quantize m.h5 -o q.h5 --granulairty filter": "did you mean --granularity?",
    "quantize m.h5 -o q.h5 --grid": "--grid is an option of audit",
    "golden m.h5 photo.jpg golden.h5": "name the file to write with -o: -o golden.h5",
    "golden m.h5 photo.jpg": "for example refquant golden yolov7.h5 photo.jpg -o G.h5",
    "golden m.h5 -o golden.h5": "required: image: for example refquant golden",
    "golden m.h5 a.jpg b.jpg -o golden.h5": "b.jpg: for example refquant golden",
    "detect m.h5": "for example refquant detect yolov7.h5 photo.jpg",
    "detect photo.jpg": "the model comes first: refquant detect demo photo.jpg",
    "detect m.h5 photo.jpg --conf-thres 0.5": "did you mean --conf?",
    "detect m.h5 photo.jpg --conf-thres=0.5": "did you mean --conf?",
    "detect --weights m.h5 --source photo.jpg": "without an option, in the order of the usage",
    "detect m.h5 photo.jpg --device cpu": "it always runs on the CPU",
    "detect m.h5 photo.jpg --size big": "'big' is not a whole number of at least 1",
    "detect m.h5 photo.jpg --conf high": "'high' is not a number from 0 to 1",
    "detect m.h5 photo.jpg --conf 50": "50: choose a number from 0 to 1",
    "evaluate m.h5 coco/": "name the data set with --data: --data coco/",
    "evaluate --data coco": "for example refquant evaluate yolov7.h5 --data coco",
    "study m.h5 coco": "name the data set with --data: --data coco",
    "study --bits four": "'four' is not a list of whole numbers, such as 8,6,4",
    "verify g.h5": "required: other: for example refquant verify G.h5 theirs.npz",
    "audit q.h5 m.h5": "name the float model with --against: --against m.h5",
    "audit q.h5 --original m.h5": "did you mean --against?",
    "info": "for example refquant info yolov7.h5",
    "info a.h5 b.h5": "b.h5: for example refquant info yolov7.h5",
    "fetch": "for example refquant fetch yolov7",
    "warmup demo": "for example refquant warmup",
    "quantise m.h5": "there is no verb 'quantise': did you mean quantize?",
    "detec m.h5 photo.jpg": "did you mean detect?",
    "predict m.h5 photo.jpg": "did you mean detect?",
    "val m.h5": "did you mean evaluate?",
    "m.h5 photo.jpg": "a verb comes first, such as refquant info m.h5",
    "train m.h5": "refquant trains no models",
    "help": "write refquant --help",
    "version": "write refquant --version",
    "": "write refquant --help",
    "nonsense": "choose convert | info | detect",
}


def refused(capsys, line: str) -> list[str]:
    """Both lines of a command line that is refused as usage."""
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(line))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("line", HINTS)
def test_a_wrong_line_gets_its_hint(capsys, line):
    usage, error = refused(capsys, line)
    assert re.fullmatch(r"usage: refquant( \S+)+ \(--help .*\)", usage)
    assert error.startswith("refquant")
    assert "error: " in error
    assert HINTS[line] in error


def test_a_folder_before_the_model_is_told(capsys, tmp_path):
    _, error = refused(capsys, f"evaluate {tmp_path} m.h5")
    assert error.endswith(f"the model comes first: refquant evaluate m.h5 --data {tmp_path}")


def test_what_no_rule_knows_gets_no_hint(capsys):
    _, error = refused(capsys, "info m.h5 --frobnicate 3")
    assert error == "refquant info: error: unrecognized arguments: --frobnicate 3"
    _, error = refused(capsys, "detect m.h5 photo.jpg --nms soft")
    assert re.fullmatch(r".*invalid choice: 'soft' \(choose from '?exact'?, '?compat'?\)", error)
    _, error = refused(capsys, "detect m.h5 photo.jpg --conf")
    assert error == "refquant detect: error: argument --conf: expected one argument"


@pytest.mark.parametrize(
    "line",
    [
        "export m.h5 -o m.onnx --size 320 640",
        "export -o m.onnx m.h5",
        "convert yolov7.pt -o yolov7.h5",
        "quantize m.h5 -o q.h5",
        "quantize m.h5 --gran channel --bit 4 -o q.h5",  # argparse completes what is unambiguous
        "detect m.h5 -o found photo.jpg more/",
        "evaluate m.h5 --data coco",
        "audit q.h5 --against m.h5",
        "study demo --data demo --bits 8,4",
    ],
)
def test_a_right_line_is_read_without_a_word(capsys, line):
    parser().parse_args(shlex.split(line))
    assert capsys.readouterr() == ("", "")


def test_words_of_a_stranger_do_not_command_the_terminal(capsys):
    _, error = refused(capsys, "info m.h5 'a\x1b[31m\nb.h5'")
    assert "a?[31m?b.h5" in error


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a model, a photo and an annotation file."""
    monkeypatch.chdir(tmp_path)
    save_model(small_model(), "m.h5")
    Image.new("RGB", (16, 16)).save("photo.png")
    (tmp_path / "coco.json").write_text("{}")
    (tmp_path / "coco").mkdir()
    return tmp_path


REMEDIES = {
    "detect yolov7 photo.png": "name a model file, or demo; refquant fetch yolov7 gets yolov7.pt",
    "convert yolov7-tiny.pt": "; refquant fetch yolov7-tiny gets yolov7-tiny.pt",
    "detect photo.png m.h5": "; the model comes first, then the image",
    "golden photo.png m.h5 -o g.h5": "; the model comes first, then the image",
    "golden m.h5 photo.png -o g.npz": "go together: add --npz, or name a .h5",
    "golden m.h5 photo.png -o g.h5 --npz": "go together: leave --npz out, or name a .npz",
    "detect m.h5 found": "; the folder for the annotated images is named with -o",
    "evaluate m.h5 --data coco.json": ", or --images FOLDER --annotations coco.json",
    "study coco": "; the data set is named with --data",
    "verify m.h5 m.onnx": " (a golden is a file that refquant golden wrote)",
    "verify photo.png m.h5": " (a golden is a file that refquant golden wrote)",
}


@pytest.mark.parametrize("line", REMEDIES)
def test_a_wrong_file_gets_its_remedy(capsys, folder, line):
    assert main(line.split()) == 3
    (error,) = capsys.readouterr().err.splitlines()
    assert error.endswith(REMEDIES[line])


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("detect mine.pt photo.png", "mine.pt: does not exist: name a model file, or demo"),
        ("info photo.png", " .onnx"),
        ("detect m.h5 none.png", "none.png: cannot be read (No such file or directory)"),
        ("detect m.h5 none -o found", "none: cannot be read (No such file or directory)"),
        ("evaluate m.h5 --data none", "is not a folder: give one in COCO's layout"),
        ("info coco", "is a directory: name a model file"),
    ],
)
def test_another_wrong_file_gets_none_of_them(capsys, folder, line, end):
    assert main(line.split()) == 3
    (error,) = capsys.readouterr().err.splitlines()
    assert error.endswith(end)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("found.png", "refquant: note: found.png is a folder for the annotated images\n"),
        ("found", ""),
    ],
)
def test_an_output_named_like_an_image_is_said_to_be_a_folder(capsys, folder, name, note):
    assert main(["detect", "m.h5", "photo.png", "-o", name]) == 0
    assert capsys.readouterr().err == note
    assert (folder / name / "photo.png").is_file()
