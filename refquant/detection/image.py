"""Reading an image file: whatever the file holds becomes (H, W, 3) uint8 RGB.

    orientation      the EXIF flag is obeyed, so H and W are those of the picture as it is seen
    grey, 1 bit      the same value in all three channels;   1 bit: 0 and 255
    palette          its colours
    alpha            dropped, not composited: the colours below it count
    CMYK, YCbCr      converted by Pillow
    16 bit           the high byte (v >> 8); 32-bit integers likewise where all lie in 0 ... 65535
    several frames   the first one
    anything else    (float, Lab) refused
These are OpenCV's choices for `imread` in colour, and its pixels: measured on 364 real JPEG files
and on all these kinds; only in CMYK and 16-bit colour TIFF do samples differ, by one grey level.

A file comes from a stranger. Only formats that Pillow decodes by itself are opened (EPS, for
one, would start Ghostscript), the number of pixels is read from the header and checked before any
is decoded, and every failure of a decoder becomes BadInput, one line. Decoding takes up to sixteen
bytes per pixel, which a header can promise for nothing: so a file may have PLENTY of pixels, or
PER_BYTE per byte where that is more. Pillow's warnings are swallowed; switching warnings off is
global to the process, hence the lock.
"""

import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from refquant.arrays.errors import BadInput

FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MAX_PIXELS = 2**27  # 134 million, 403 MB as RGB; below Pillow's own 179 million
PLENTY = 2**22  # pixels that any file may have: 2048 x 2048
PER_BYTE = 10_000  # PNG of one bit per pixel and one colour has 8,256, GIF of one colour 2,700
PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 exchange height and width
_pillow = threading.Lock()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB; BadInput names what is wrong with the file."""
    with opened(Path(path), max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)  # otherwise a copy, turned or not
        return to_rgb(Path(path), image)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) in pixels of what read_image gives, from the header alone."""
    with opened(Path(path), MAX_PIXELS) as image:
        lying = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if lying else (image.height, image.width)


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """An image file, opened and not yet decoded; whatever goes wrong inside becomes BadInput."""
    size = check_file(path)
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=known_formats()) as image:
                pixels = image.width * image.height
                check_pixels(path, pixels, max_pixels)
                if pixels > max(PLENTY, PER_BYTE * size):
                    raise BadInput(path, f"{pixels} pixels cannot come from {size} bytes")
                yield image
        except BadInput:
            raise
        except Image.DecompressionBombError as error:
            found = re.search(r"\d+", str(error))  # Pillow keeps the number in its message only
            check_pixels(path, int(found.group()) if found else max_pixels + 1, max_pixels)
            raise BadInput(path, str(error)) from error
        except Image.UnidentifiedImageError as error:
            choices = ", ".join(FORMATS)
            raise BadInput(path, "is not an image that can be read", f"use {choices}") from error
        except Exception as error:  # decoders of damaged files raise nearly every kind
            remedy = "copy it again, or leave it out"
            raise BadInput(path, f"is a damaged image ({error})", remedy) from error


def check_file(path: Path) -> int:
    """The file's size; what is no ordinary file with something in it is refused."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise BadInput(path, f"cannot be read ({getattr(error, 'strerror', error)})") from error
    if stat.S_ISDIR(status.st_mode):
        raise BadInput(path, "is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(path, "is not an ordinary file")
    if status.st_size == 0:
        raise BadInput(path, "is an empty file")
    return status.st_size


def check_pixels(path: Path, pixels: int, limit: int) -> None:
    """Refuse more pixels than the limit."""
    if pixels > limit:
        raise BadInput(path, f"{pixels} pixels, the limit is {limit}", "use a smaller image")


def known_formats() -> list[str]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def to_rgb(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a decoded image, by the rules of the file's docstring."""
    if image.mode.startswith("I"):  # 16 or 32 bits, integers
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BadInput(path, f"32-bit values {values.min()} ... {values.max()}", "use 16 bits")
        high = values.astype(np.uint16) >> 8  # not in int64: eight bytes per pixel, twice
        return np.repeat(high.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode not in PLAIN:
        raise BadInput(
            path, f"pixels of kind {image.mode} have no defined RGB", "convert it first"
        )
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
