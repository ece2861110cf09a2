"""The verbs that write, each with small inputs, for kill_points.py.

jobs(folder, server) -> name -> (arguments, output, the output's bytes before or None)

Each writes one file; study writes a folder, of which results.json counts as the output.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cells_data import make_cells
from file_server import Server
from places import ROOT, SUPPORT
from small_model import saved, small_model
from study_cells import make_grid_data, noisy_cells
from white_cells import white_cells

from refquant.formats.catalogue import save_model

OLD = b"an older file"
BROKEN, LEFT = "broken", "left behind"
STUDY = "study"


def jobs(folder: Path, server: Server) -> dict[str, tuple[list[str], Path, bytes | None]]:
    """One job per verb; each output is in a folder of its own."""
    source = saved(small_model(), folder)
    cells = folder / "cells.h5"
    save_model(white_cells(), cells)
    data = make_cells(folder / "data", 4)
    image = data / "val" / "1.png"
    base = server.url.rsplit("/", 1)[0]
    evaluated = ["evaluate", cells, "--data", data, "--size", 96, "--threads", 1, "--results"]
    grid, noisy = folder / "grid", folder / "noisy.h5"
    make_grid_data(grid)
    save_model(noisy_cells(), noisy)
    studied = ["study", noisy, "--data", grid, "--size", 96, "--threads", 1, "--limit", 4]
    studied += ["--resamples", 5, "--schemes", "affine", "-o"]
    table: dict[str, tuple[list[Any], str, bytes | None]] = {
        "convert": (["convert", source, "-o"], "model.h5", OLD),
        "quantize": (["quantize", source, "-o"], "model.h5", OLD),
        "fetch": (["fetch", "yolov7x", "--from", base, "-o"], "x.pt", None),
        "evaluate": (evaluated, "results.json", OLD),
        "golden": (["golden", cells, image, "--size", 96, "--threads", 1, "-o"], "g.h5", OLD),
        "export": (["export", source, "-o"], "model.npz", OLD),
        STUDY: (studied, "results.json", None),
    }
    made = {}
    for verb, (arguments, name, old) in table.items():
        output = folder / verb / name
        output.parent.mkdir()
        target = output.parent if verb == STUDY else output
        made[verb] = ([*map(str, arguments), str(target)], output, old)
    return made


def killed(points: int, arguments: list[str], output: Path, old: bytes | None) -> dict[str, Any]:
    """What kill_points.py reports, which runs in a process of its own."""
    if old is not None:
        output.write_bytes(old)
    command = [sys.executable, SUPPORT / "kill_points.py", points, output, *arguments]
    paths = os.pathsep.join([str(ROOT), str(SUPPORT)])
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def summary(report: dict[str, Any]) -> dict[str, int]:
    """Counts: kills, what the output was after them, and what the second run left."""
    points = report["points"]
    states = [state for _, _, state, *_ in points]
    found = {state: states.count(state) for state in ("old", "absent", "interim", "new", BROKEN)}
    return {
        "killed": sum(was for _, was, *_ in points),
        **found,
        "with other files": sum(others > 0 for *_, others, _, _ in points),
        "not mended": sum(state != "new" for *_, state, _ in points),
        LEFT: sum(files != report["files"] for *_, files in points),
    }
