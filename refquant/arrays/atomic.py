"""Atomic writing: a file is there whole, or it is the old one, whatever happens in between.

    .NAME.HOST-PID.xxxxxxxx.tmp    where NAME is written first, in the folder of NAME

A process that is killed at once (SIGKILL, power) leaves such a file behind. The next one that
writes NAME removes it, if its process ran on this host and is no more.
"""

import contextlib
import os
import re
import socket
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
        remove_leftovers(target)
        prefix = f".{target.name}.{host()}-{os.getpid()}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=target.parent)
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


def host() -> str:
    """This computer's name as part of a file's: folders may be shared between computers."""
    return re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]


def remove_leftovers(target: Path) -> None:
    """Remove what processes of this host that are dead have left of this target."""
    pattern = re.compile(re.escape(f".{target.name}.{host()}-") + r"(\d{1,9})\.\w{1,16}\.tmp")
    with os.scandir(target.parent) as entries:
        left = [(entry.path, pattern.fullmatch(entry.name)) for entry in entries]
    for path, match in left:
        if match and not is_alive(int(match[1])):
            # Not everything goes: somebody else's in a folder that all may write to stays.
            with contextlib.suppress(OSError):
                Path(path).unlink()


def is_alive(process: int) -> bool:
    """Whether a process of this number exists; where that cannot be asked, it is assumed."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists, and is somebody else's
        return True
    return True


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
