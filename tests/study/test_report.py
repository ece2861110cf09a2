"""The report: escaping, tables, files; everything in it comes from results.json."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from study_cells import make_grid_data, run

from refquant.drawing.svg import Drawing, Text
from refquant.study.report.document import Cell, Document, Figure, Paragraph, Table, markdown
from refquant.study.report.findings import equal_bits, ranked
from refquant.study.report.page import html
from refquant.study.report.plots import plots
from refquant.study.report.report import report, write_report
from refquant.study.wording import interval, number, places_of

NASTY = '<script>alert(1)</script> & "|*_[x](y)`'


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("study")
    return run(make_grid_data(folder / "data"), folder / "out")


@pytest.fixture(scope="module")
def written(results, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(results, folder)
    return folder


VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Collects every tag with its attributes, and checks that they nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert not (tag not in VOID and self.open.pop() != tag), tag


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader.tags


def test_numbers_as_words():
    assert number(-0.04) == "0.0"
    assert number(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert number(0.26, 1, sign=True) == "+0.3"
    assert number(1234567, 0) == "1,234,567"
    assert number(None) == "\N{EN DASH}"
    assert interval(-1.0, 0.0) == "[\N{MINUS SIGN}1.0, 0.0]"


def test_a_difference_that_is_not_zero_is_not_printed_as_zeros():
    assert [places_of({"points": p}) for p in (-13.2, 0.05, 0.0, -0.00026, 1e-9)] == [
        2,
        2,
        2,
        4,
        6,
    ]
    assert number(-0.00026, 4) == "\N{MINUS SIGN}0.0003"


@pytest.mark.parametrize(
    ("ends", "verdict", "says"),
    [((0.1, 0.9), "better", "keeps 0.5 points more [+0.1, +0.9]."),
     ((-0.9, -0.1), "worse", "keeps 0.5 points less [+0.1, +0.9].")],
)  # fmt: skip
def test_more_and_less_both_have_an_interval_of_their_own_sign(ends, verdict, says):
    pair = {"a": "pwlq filter 4", "b": "affine filter 5", "points": sum(ends) / 2}
    pair |= {"low": ends[0], "high": ends[1], "verdict": verdict}
    assert equal_bits({"comparisons": [pair]}).endswith(says)


def test_ranks_of_equal_values_are_shared():
    assert ranked([3.0, 1.0, 3.0, 2.0]) == [2.5, 0.0, 2.5, 1.0]


def test_names_of_strangers_never_become_markup():
    table = Table((NASTY, "n"), [[Cell(NASTY, note=NASTY), Cell("1", 1.0)]])
    drawing = Drawing("a", NASTY, 10, 10, [Text(0, 0, NASTY)])
    document = Document(NASTY, NASTY, [Paragraph(NASTY), table, Figure(drawing, NASTY)])
    tags = read(html(document))
    assert [tag for tag, _ in tags].count("script") == 1  # our own
    assert "<script" not in markdown(document)
    assert html(document).count("alert(1)") == html(document).count("&lt;script&gt;alert(1)")


def test_a_tables_cells_carry_what_they_are_sorted_by():
    table = Table(("name", "n"), [[Cell("a"), Cell("1,000", 1000.0)], [Cell("b"), Cell("-")]])
    tags = read(html(Document("t", "", [table])))
    values = [attributes.get("data-v") for tag, attributes in tags if tag == "td"]
    assert values == [None, "1000.0", None, ""]


def test_the_page_needs_nothing_but_itself(written):
    text = (written / "report.html").read_text()
    tags = read(text)
    assert not [tag for tag, _ in tags if tag in ("link", "img", "iframe", "object")]
    for _, attributes in tags:
        assert not {"src", "srcset"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text and "@import" not in text


def test_links_within_the_page_lead_somewhere(written):
    tags = read((written / "report.html").read_text())
    names = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in tags if tag == "a"} == names


def test_the_report_is_a_function_of_results_json(results, written, tmp_path):
    again = json.loads((written / "results.json").read_text())
    assert again == results
    write_report(again, tmp_path)
    for name in ("report.html", "report.md", "results.csv", "results.json"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_another_ap_is_another_report(results, written, tmp_path):
    other = json.loads(json.dumps(results))
    other["configurations"][0]["AP"] = 0.123456
    write_report(other, tmp_path)
    assert "12.35" in (tmp_path / "report.html").read_text()
    assert "12.35" not in (written / "report.html").read_text()


def test_every_configuration_stands_in_the_csv(results, written):
    rows = list(csv.DictReader(io.StringIO((written / "results.csv").read_text())))
    assert [row["name"] for row in rows] == [c["name"] for c in results["configurations"]]
    for row, known in zip(rows, results["configurations"], strict=True):
        assert float(row["AP"]) == known["AP"]
        assert int(row["bytes.packed"]) == known["bytes"]["packed"]


def test_every_drawing_is_a_file(results, written):
    names = {drawing.name for drawing in plots(results)}
    assert {"ap_stored", "ap_nominal", "losses", "predicted"} <= names
    assert names == {path.stem for path in (written / "plots").glob("*.svg")}
    for path in (written / "plots").glob("*.svg"):
        ElementTree.parse(path)


def test_a_study_that_has_just_begun_has_a_report_too(results, tmp_path):
    begun = json.loads(json.dumps(results))
    for row in begun["configurations"]:
        row |= {"AP": None, "AP50": None, "loss": None}
    begun["comparisons"] = []
    write_report(begun, tmp_path)
    assert "0 of 6 configurations are evaluated so far" in (tmp_path / "report.html").read_text()


def test_losses_are_printed_positive(results):
    row = next(r for r in results["configurations"] if r["name"] == "affine layer 2")
    text = markdown(report(results))
    assert number(-row["loss"]["points"], 2) in text
