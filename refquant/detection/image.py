"""Reading an image file: whatever the file holds becomes (H, W, 3) uint8 RGB.

    orientation      the EXIF flag is obeyed, so H and W are those of the picture as it is seen
    grey, 1 bit      all three channels have the same value, which is 0 or 255 for a single bit
    palette          the colours of the palette are taken
    alpha            it is dropped, not composited: the colours below it count
    CMYK, YCbCr      Pillow converts them
    16 bit           the high byte is taken (v >> 8); so it is of 32-bit integers in 0 ... 65535
    several frames   the first one is taken
    anything else    (float, Lab) is refused
These are OpenCV's choices for `imread` in colour, and they give its pixels, as was measured on
364 real JPEG files and on all these kinds. Only in CMYK and in 16-bit colour TIFF do samples
differ, by one grey level.

A file comes from a stranger. Only formats that Pillow decodes by itself are opened (EPS, for one,
would start Ghostscript). The number of pixels is read from the header and checked before any is
decoded, and every failure of a decoder becomes BadInput, one line. Decoding takes up to sixteen
bytes per pixel, and a header can promise pixels for nothing: so a file may have PLENTY of pixels,
or PER_BYTE per byte where that is more. Pillow's warnings are silenced; since that is global to
the process, there is a lock.
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
MAX_PIXELS = 2**27  # 134 million, 403 MB as RGB; Pillow's own limit is 179 million
PLENTY = 2**22  # pixels that any file may have: 2048 x 2048
PER_BYTE = 10_000  # a PNG of one bit per pixel and one colour has 8,256, a GIF of one colour 2,700
PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
ORIENTATION = 0x0112  # the EXIF tag; its values 5 to 8 exchange height and width
_pillow = threading.Lock()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB; BadInput names what is wrong with the file."""
    with opened(Path(path), max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it makes a copy
        return to_rgb(Path(path), image)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The (height, width) in pixels of what read_image gives, known from the header alone."""
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
            found = re.search(r"\d+", str(error))  # only Pillow's message has the number
            check_pixels(path, int(found.group()) if found else max_pixels + 1, max_pixels)
            raise BadInput(path, str(error)) from error
        except Image.UnidentifiedImageError as error:
            choices = ", ".join(FORMATS)
            raise BadInput(path, "is not an image that can be read", f"use {choices}") from error
        except Exception as error:  # decoders of damaged files raise nearly every kind
            remedy = "copy it again, or leave it out"
            raise BadInput(path, f"is a damaged image ({error})", remedy) from error


def check_file(path: Path) -> int:
    """The size of a file in bytes; what is not an ordinary file, or is empty, is refused."""
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
    """Those of FORMATS that this Pillow can open."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def to_rgb(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB of a decoded image, by the rules at the top of this file."""
    if image.mode.startswith("I"):  # 16 or 32 bits, integers
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise BadInput(path, f"32-bit values {values.min()} ... {values.max()}", "use 16 bits")
        high = values.astype(np.uint16) >> 8  # int64 would take eight bytes per pixel, twice
        return np.repeat(high.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode not in PLAIN:
        raise BadInput(
            path, f"pixels of kind {image.mode} have no defined RGB", "convert it first"
        )
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
