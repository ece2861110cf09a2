"""The first bytes of an HDF5 file, the superblock, checked before the HDF5 library sees them.

    at byte                 version 0     version 1     versions 2 and 3
    signature               0             0             0
    version                 8             8             8
    sizes: 8 and 8          13, 14        13, 14        9, 10
    base address: 0         24            28            12
    free space: none        32            36            -
    extension: none         -             -             20
    driver's block: none    48            52            -

The sizes are those of addresses and of lengths; "none" is 2**64 - 1. For an extension or a
driver's block the library allocates as much memory as the file claims: a golden of 4 kB, changed
by fuzzing, took 4 GB and ten seconds. Files that h5py writes have neither, unless it is asked to.

Source  HDF5 File Format Specification, version 3.0, II.A.
"""

from pathlib import Path

from refquant.arrays.errors import BadInput

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZES, ZERO, NONE = bytes([8, 8]), bytes(8), bytes([255]) * 8
LENGTH = 96  # bytes that are read


def check_superblock(path: Path) -> None:
    """Refuse what is no HDF5 file from its first byte on, and a superblock with more than needed.

    HDF5 itself would also find a file behind other content.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(LENGTH)
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from error
    if not start.startswith(SIGNATURE):
        raise BadInput(path, "does not begin as an HDF5 file does", "is it a model's file?")
    if len(start) < LENGTH:
        raise BadInput(path, "is cut off", "copy or download it again")
    if not is_plain(start):
        problem = "its superblock is damaged, or has an extension or a driver's block"
        raise BadInput(path, problem, "write it with h5py's defaults")


def is_plain(start: bytes) -> bool:
    """Whether everything is as in the table of the file's docstring."""
    version = start[8]
    if version in (0, 1):
        base, free, _, driver = (start[at : at + 8] for at in range(24 + 4 * version, 56, 8))
        return start[13:15] == SIZES and (base, free, driver) == (ZERO, NONE, NONE)
    if version in (2, 3):
        return start[9:11] == SIZES and (start[12:20], start[20:28]) == (ZERO, NONE)
    return False
