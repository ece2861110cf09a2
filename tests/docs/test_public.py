"""What a stranger meets first: the public names, the README's example and figures, the links."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from places import ROOT

import refquant
from refquant.cli.main import parser


@pytest.mark.parametrize("name", refquant.__all__)
def test_every_public_name_is_there(name):
    assert getattr(refquant, name) is not None


def test_the_docstring_lists_the_public_names_and_no_other():
    lines = re.findall(r"^    ((?:\w+, )*\w+)", refquant.__doc__, re.MULTILINE)
    listed = [name for line in lines for name in line.split(", ")]
    assert sorted(["__version__", *listed]) == sorted(refquant.__all__)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        refquant.nothing  # noqa: B018


@pytest.mark.parametrize("first", ["refquant.detect", "import refquant.detection.dataset"])
def test_detect_is_a_function_whatever_was_imported_before(first):
    script = (
        f"import refquant\n{first}\n"
        "model = refquant.load_model('demo')\n"
        f"image = {str(ROOT / 'weights/demo/val/00003.png')!r}\n"
        "print(len(refquant.detect(model, image)), len(refquant.detect(model, image, conf=1)))\n"
        "from refquant import detect\n"
        "print(len(detect(model, image)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "0", "3"]


def test_the_example_of_the_readme_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    # 32 filters of 27 codes of half a byte, each with a scale of 4 bytes and a zero point of 1
    assert capsys.readouterr().out.startswith("(32, 27) 592 ")


def test_the_costs_in_the_readme_are_those_that_were_measured():
    text = " ".join((ROOT / "README.md").read_text().split())
    table = (ROOT / "bench" / "speed" / "evaluate_cost.md").read_text()
    costs = dict(re.findall(r"\| (\S+ \| \w+) \| ([\d.]+) \|", table))
    square = costs["yolov5s_v6.0.pt | square"], costs["random:yolov7 | square"]
    public = costs["yolov5s_v6.0.pt | yolov7"], costs["random:yolov7 | yolov7"]
    hours = [costs[f"random:yolov7 | {nodes}"] for nodes in (1, 4, 16)]
    assert "{} for YOLOv5s and {} for YOLOv7".format(*square) in text
    assert "{} and {} with `yolov7`".format(*public) in text
    assert "about {} hours on one node, {} on four, {} on sixteen".format(*hours) in text
    dearest = max(re.findall(r"\| \d+ \| \d+ \| ([\d.]+) \|", table), key=float)
    assert f"up to {dearest} s per image" in text
    assert f"cores of a node + {dearest})" in text


@pytest.mark.parametrize("name", ["study", "yolov5s"])
def test_the_losses_in_the_readme_are_those_of_the_recorded_studies(name):
    rows = json.loads((ROOT / "docs" / name / "results.json").read_text())["configurations"]
    losses = {row["name"]: -row["loss"]["points"] for row in rows}
    pair = f"{losses['affine filter 4']:.1f} and {losses['pwlq filter 4']:.1f}"
    assert pair in " ".join((ROOT / "README.md").read_text().split())


def test_a_forward_pass_takes_less_time_than_onnxruntimes_as_the_readme_says():
    text = (ROOT / "bench" / "speed" / "forward.md").read_text()
    summary, _ = text.split("The runs:")
    medians = re.findall(r"^\| yolov7\S* \| \d \| \w+ \| \d+ \| ([\d.]+) \|", summary, re.M)
    assert len(medians) >= 4
    assert all(float(median) < 1 for median in medians)
    assert "takes less time than onnxruntime's" in (ROOT / "README.md").read_text()


def commands(text: str) -> list[list[str]]:
    """Commands of blocks, and those between backquotes that are whole."""
    blocks = [line.partition("#")[0] for line in re.findall(r"^(?:\$ )?(refquant .*)", text, re.M)]
    spans = re.findall(r"`(refquant [a-z]+ [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [shlex.split(" ".join(command.split()))[1:] for command in blocks + spans]


@pytest.mark.parametrize("name", ["README.md", "docs/README.md", "docs/verify.md"])
def test_every_command_is_one_and_evaluations_name_their_data(name):
    found = commands((ROOT / name).read_text(encoding="utf-8"))
    assert found
    for words in found:
        options = parser().parse_args(words)
        if options.verb == "evaluate":
            assert options.data or options.images, words


def test_an_evaluation_without_data_would_be_found():
    (words,) = commands("one `refquant evaluate q.h5\n--results q.json` per job")
    assert parser().parse_args(words).data is None


FOLDERS = (".", "docs", "docs/*", "weights", "bench", "bench/*")
PAGES = sorted({page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inside = [link for link in links if not link.startswith(("http", "#"))]
    assert [link for link in inside if not (page.parent / link.partition("#")[0]).exists()] == []
