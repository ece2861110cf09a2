"""Shared fixtures. Real data lies outside the project; its tests skip where it is absent."""

import os
import signal
from pathlib import Path

import pytest

REAL = Path(os.environ.get("REFQUANT_REAL") or Path(__file__).parents[2] / "shared" / "real")

# A shell starts jobs in the background with Ctrl-C ignored; processes that tests start and
# interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real checkpoints, weights and images."""
    if not REAL.is_dir():
        pytest.skip("real data not found: set REFQUANT_REAL to its folder")
    return REAL
