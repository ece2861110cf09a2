"""Evaluations as processes of their own (cells_data.py), to be watched and killed."""

import os
import subprocess
import sys

import pytest
from places import ROOT, SUPPORT

posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def program(folder, tmp_path, *arguments):
    """cells_data.py as a process of its own."""
    command = [sys.executable, str(SUPPORT / "cells_data.py"), str(folder)]
    command += [str(tmp_path / "log"), str(tmp_path / "results.json"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(process, images):
    """Until the given number of images is done."""
    for line in process.stdout:
        if int(line.split("/")[0]) >= images:
            return


def finish(process):
    """What the process wrote to stderr, when it has come to its end."""
    return process.communicate(timeout=60)[1]
