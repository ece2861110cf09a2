"""Executors that are ready to evaluate on: processes on this machine, or a Dask cluster.

    process_pool(workers)      processes that start afresh ("spawn" copies no threads or locks)
    dask_executor(address)     the cluster whose scheduler listens at tcp://host:port

`evaluate` takes any other concurrent.futures.Executor as well, such as mpi4py's. Workers read the
images themselves, so they must see the data set under the same path; a cluster also needs a
`scratch` folder that all of them see. No result depends on how many workers there are, or on which
one did what.

A worker process ignores Ctrl-C, which is its parent's to handle, and ends when its parent is gone:
otherwise workers whose parent was killed would wait for work forever.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

from refquant.arrays.errors import BadInput

DASK_TIMEOUT = "10s"  # within which the scheduler must answer


@contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """An executor of so many processes; jobs that have not begun at the end are cancelled."""
    if workers < 1:
        raise BadInput(f"workers={workers}", "choose 1 or more")
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Make this process a good worker: see the file's docstring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent's end, whatever ends it, then end this process."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """The workers of a running Dask cluster as an executor."""
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise BadInput(
            "dask", "distributed is not installed", "pip install 'refquant[dask]'"
        ) from error
    try:
        client = Client(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError) as error:
        raise BadInput(address, "no Dask scheduler answers there", "tcp://host:8786") from error
    with client:
        try:
            # Not pure: Dask would otherwise take equal jobs of two runs for one.
            yield client.get_executor(pure=False)
        except KilledWorker as error:
            raise BadInput(address, "its workers die of a job (out of memory?)") from error
