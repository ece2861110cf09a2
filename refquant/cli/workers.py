"""Who does the work of a verb that goes over many images: options, threads, executor.

Without an option this process works alone. The result never depends on any of it.
"""

import argparse
import contextlib
from concurrent.futures import Executor

from refquant.arrays.errors import BadInput
from refquant.cli.common import positive, usable_cores


def add_workers(parser: argparse.ArgumentParser, kept: str) -> None:
    """Add the options that say who does the work. `kept` names where the result is kept."""
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="how many processes share the images"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help=f"the Dask scheduler to use, tcp://host:port; its workers must see the images, and "
        f"{kept}, under the same path",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="how many threads a worker has (default: the cores, shared among the workers; 1 with "
        "--dask); the result never depends on it",
    )


def threads_of(options: argparse.Namespace) -> int:
    """How many threads a worker has."""
    default = 1 if options.dask else max(1, usable_cores() // (options.workers or 1))
    return options.threads or default


def executor_of(options: argparse.Namespace) -> contextlib.AbstractContextManager[Executor | None]:
    """Who does the work: worker processes, a cluster, or None for this process."""
    if options.dask and options.workers:
        raise BadInput("--workers", "the cluster has its own workers", "leave out one of the two")
    if options.dask:
        from refquant.detection.workers import dask_executor

        return dask_executor(options.dask)
    if options.workers:
        from refquant.detection.workers import process_pool

        return process_pool(options.workers)
    return contextlib.nullcontext()
