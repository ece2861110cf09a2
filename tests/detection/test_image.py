"""Reading images: the pixels of every kind of file, and one line for every bad file."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from small_model import small_model

from refquant.arrays.errors import BadInput
from refquant.detection.image import MAX_PIXELS, PER_BYTE, image_size, read_image
from refquant.detection.predict import detect

RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    """save(array or image, name, **options) -> path"""

    def save(picture, name="picture.png", **options):
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def refusal(path, **options):
    """The one line with which the file is refused; no warning escapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput) as caught:
            read_image(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_a_red_and_a_blue_pixel(saved):
    picture = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    image = read_image(saved(picture))
    assert (image.tolist(), image.dtype) == ([[[255, 0, 0], [0, 0, 255]]], np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "misnamed.jpg"])
def test_lossless_formats_come_back_as_they_were(saved, name):
    options = {"format": "PNG"} if name == "misnamed.jpg" else {}
    assert np.array_equal(read_image(saved(RGB, name, **options)), RGB)


@pytest.mark.parametrize("flag", [None, *range(10)])
def test_the_size_in_the_header_is_that_of_the_picture_as_it_is_read(saved, flag):
    exif = Image.Exif()
    if flag is not None:
        exif[0x0112] = flag
    path = saved(RGB, exif=exif)
    assert image_size(path) == read_image(path).shape[:2]
    assert image_size(path) == ((7, 5) if flag in (5, 6, 7, 8) else (5, 7))


def test_a_file_without_a_header_has_no_size(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="is not an image"):
        image_size(tmp_path / "a.png")


def test_the_orientation_flag_is_obeyed(saved):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by 90 degrees, clockwise
    image = read_image(saved(RGB, exif=exif))
    assert np.array_equal(image, np.rot90(RGB, -1))


def test_grey_is_repeated(saved):
    grey = RGB[..., 0]
    assert np.array_equal(read_image(saved(grey)), np.dstack([grey] * 3))


def test_one_bit_becomes_0_and_255(saved):
    bits = RGB[..., 0] > 127
    assert np.array_equal(read_image(saved(bits)), np.dstack([bits * np.uint8(255)] * 3))


def test_a_palette_gives_its_colours(saved):
    indexed = Image.fromarray(RGB).quantize(6)
    assert np.array_equal(read_image(saved(indexed)), np.array(indexed.convert("RGB")))
    path = saved(indexed, "transparent.png", transparency=bytes([0, 10, 20]))
    assert np.array_equal(read_image(path), np.array(indexed.convert("RGB")))


def test_alpha_is_dropped_not_composited(saved):
    alpha = np.zeros((5, 7, 1), np.uint8)
    assert np.array_equal(read_image(saved(np.concatenate((RGB, alpha), axis=2))), RGB)
    grey = np.concatenate((RGB[..., :1], alpha), axis=2)
    assert np.array_equal(read_image(saved(Image.fromarray(grey, "LA")))[..., 0], RGB[..., 0])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_the_high_byte(saved, name):
    values = np.array([[0, 255, 256, 511, 65535]], np.uint16)
    assert read_image(saved(values, name))[0, :, 0].tolist() == [0, 0, 1, 1, 255]


def test_cmyk_is_converted(saved):
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert (read_image(saved(white, "a.jpg")) == 255).all()


def test_of_an_animation_the_first_frame_counts(saved):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    path = saved(frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(path).tolist() == [[[255, 0, 0]] * 4] * 3


def test_jpeg_pixels_are_those_of_opencv(saved):
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    noise = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)
    for quality in (30, 75, 95):
        path = saved(noise, "a.jpg", quality=quality)
        assert np.array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])


def test_floats_and_large_integers_are_refused(saved):
    assert "mode" not in refusal(saved(np.ones((2, 2), np.float32), "a.tif"))
    assert "70000" in refusal(saved(np.full((2, 2), 70000, np.int32), "b.tif"))


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1)])
def test_an_image_of_one_row_or_column_goes_all_the_way(saved, shape):
    """Letterboxed it would be a thirtieth of a pixel high: it becomes one row."""
    picture = np.full((*shape, 3), 255, np.uint8)
    assert read_image(saved(picture)).shape == (*shape, 3)
    found = detect(small_model(), saved(picture), size=64, conf=0.001)
    assert np.all((found.boxes >= 0) & (found.boxes <= 20_000))


def test_a_text_file_is_no_image(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("this is text\nof two lines\n")
    assert "is not an image that can be read: use JPEG" in refusal(path)


def test_postscript_is_not_even_tried(tmp_path):
    path = tmp_path / "a.eps"
    Image.new("RGB", (4, 4)).save(path)
    assert "is not an image" in refusal(path)


def test_an_empty_file_a_folder_and_nothing_at_all(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "is an empty file" in refusal(empty)
    assert "is a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "absent.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.tif", "a.webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_damaged(saved, name, kept):
    noise = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = saved(noise, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "image" in refusal(path)


def test_flipped_bytes_give_an_image_or_one_line(saved):
    path = saved(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8), "a.png")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(100):
        broken = whole.copy()
        broken[RNG.integers(0, len(whole), 3)] = RNG.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        try:
            assert read_image(path).dtype == np.uint8
        except BadInput as error:
            assert "\n" not in str(error)


def bomb(path, width, height):
    """A PNG of a few bytes whose header promises width * height pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("side", [12_000, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    line = refusal(bomb(tmp_path / "bomb.png", side, side))
    assert f"{side * side} pixels, the limit is {MAX_PIXELS}" in line


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg"])
def test_many_pixels_of_one_colour_come_from_few_bytes(saved, name):
    """More than any file may have for nothing: 16 million from 2 to 250 KB."""
    path = saved(Image.new("1" if name == "a.png" else "L", (4096, 4096), 255), name)
    assert image_size(path) == (4096, 4096)
    assert path.stat().st_size * PER_BYTE > 4096**2


def test_pixels_that_cannot_come_from_so_few_bytes_are_refused(tmp_path):
    """They would take 300 MB to find that they are not there."""
    line = refusal(bomb(tmp_path / "bomb.png", 5000, 5000))
    assert "25000000 pixels cannot come from" in line
    line = refusal(bomb(tmp_path / "bomb.png", 2048, 2048))
    assert "damaged" in line


def test_pillows_own_limit_holds_whatever_is_chosen(tmp_path):
    assert "decompression bomb" in refusal(
        bomb(tmp_path / "bomb.png", 30_000, 30_000), max_pixels=10**10
    )


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")
def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not an ordinary file" in refusal(tmp_path / "pipe.png")


def test_the_limit_on_pixels_can_be_chosen(saved):
    path = saved(RGB)
    assert read_image(path, max_pixels=35).shape == (5, 7, 3)
    assert "35 pixels, the limit is 34" in refusal(path, max_pixels=34)


def test_warning_filters_are_as_before(saved):
    before = list(warnings.filters)
    read_image(saved(RGB))
    assert warnings.filters == before
