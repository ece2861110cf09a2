"""Atomic writing: a file is there whole, or it is the old one, whatever happens in between."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from refquant.arrays.errors import BadInput


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is synced and renamed to `target`.

    On any failure, Ctrl-C included, the temporary file is removed and the old `target` stays.
    A folder that is missing or not writable, and a full disk, raise BadInput.
    """
    target = Path(target)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
        )
    except OSError as error:
        raise BadInput(target, f"cannot be written ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp made it private
        os.replace(temporary, target)
    except OSError as error:
        raise BadInput(target, f"cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
