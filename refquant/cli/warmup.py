"""`refquant warmup`: compile the kernels now, so that the first detection does not have to.

Numba keeps what it compiles on disk, for this CPU and this version of refquant. Where: beside
the installed files if they may be written, otherwise in the user's cache folder; NUMBA_CACHE_DIR
chooses another place. A warmup in the image of a container serves every process started from it.
"""

import argparse
import time
from typing import Any

from refquant.cli.common import add_verb, print_json, say

EXAMPLE = """
refquant warmup
NUMBA_CACHE_DIR=/var/cache/refquant refquant warmup
"""


def add_parser(subparsers: Any) -> None:
    parser = add_verb(subparsers, "warmup", "compile the kernels now and keep them", EXAMPLE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from refquant.engine.warmup import warmup

    start = time.perf_counter()
    warm = warmup()
    result = {
        "compiled": warm.compiled,
        "seconds": round(time.perf_counter() - start, 3),
        "cache": warm.cache,
        "cpu": warm.cpu,
    }
    if options.json:
        print_json(result)
        return 0
    what = "compiled" if warm.compiled else "loaded"
    say(f"kernels {what} in {result['seconds']:.1f} s for {warm.cpu or 'this CPU'}")
    say(f"kept in {warm.cache}" if warm.cache else "kept nowhere, since no folder can be written")
    return 0
