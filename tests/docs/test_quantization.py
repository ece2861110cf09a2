"""docs/quantization.md names everything that there is, and its example runs."""

import csv
import os
import re
import subprocess
import sys

import numpy as np
from places import ROOT

from refquant.quant.granularity import ALIASES, GRANULARITIES
from refquant.quant.recipe import parse
from refquant.quant.schemes import SCHEMES, every_scheme, find_scheme

TEXT = (ROOT / "docs" / "quantization.md").read_text(encoding="utf-8")


def test_every_name_is_in_the_text():
    names = [*SCHEMES, *GRANULARITIES, *ALIASES]
    names += [scheme.name.partition(":")[2] for scheme in every_scheme() if ":" in scheme.name]
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_the_bits_of_every_scheme_are_those_of_the_table():
    for name, scheme in SCHEMES.items():
        (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[2] == ("k" if scheme.code_bits(4) == 4 else "k + 1")


def test_every_scheme_is_in_the_files_of_measurements():
    for name, wanted in (("", {"scheme", "granularity", "bits"}), ("_speed", {"cpu_seconds"})):
        with (ROOT / "docs" / f"quantization{name}.csv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        assert wanted <= set(rows[0])
        assert set(SCHEMES) <= {row["scheme"] for row in rows}


def test_the_example_runs():
    (block,) = re.findall(r"(    from refquant.*?)\n\n", TEXT, re.S)
    scope = {"w": np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)}
    exec("\n".join(line[4:] for line in block.splitlines()), scope)
    assert scope["tensor"].code_bits == 5


def test_the_recipe_parses():
    lines = [line for line in TEXT.splitlines() if line.startswith(("    model.", "    *  "))]
    assert len(parse("\n".join(lines))) == 3
    assert find_scheme("affine:mse+bc").name in TEXT


def test_the_measured_page_is_what_its_command_writes_from_the_files_beside_it(tmp_path):
    command = [sys.executable, "-m", "bench.quantize.weights", "write"]
    page = tmp_path / "page.md"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "-o", page], check=True, cwd=ROOT, env=environment)
    written = (ROOT / "docs" / "quantization_measured.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == written
