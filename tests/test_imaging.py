from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from arc2face.errors import ImageError
from arc2face.pictures import loading as imaging
from arc2face.pictures.loading import load_rgb_u8, resize_square, to_png_bytes


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quadrants(width: int = 40, height: int = 24) -> Image.Image:
    """Red, green, blue and white quarters: upper left, upper right, lower left, lower right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    pixels[:h, :w] = (255, 0, 0)
    pixels[:h, w:] = (0, 255, 0)
    pixels[h:, :w] = (0, 0, 255)
    pixels[h:, w:] = (255, 255, 255)
    return Image.fromarray(pixels)


def close(actual: np.ndarray, expected: np.ndarray, tolerance: int) -> bool:
    return int(np.abs(actual.astype(int) - expected.astype(int)).max()) <= tolerance


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("TGA", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("JPEG2000", {}, 2),
    ],
)
def test_common_formats(kind: str, options: dict[str, object], tolerance: int) -> None:
    picture = quadrants()
    rgb = load_rgb_u8(encoded(picture, kind, **options))
    assert rgb.dtype == np.uint8 and rgb.flags["C_CONTIGUOUS"]
    assert rgb.shape == (24, 40, 3)
    assert close(rgb[4:8, 4:12], np.asarray(picture)[4:8, 4:12], tolerance)
    assert close(rgb[16:20, 28:36], np.asarray(picture)[16:20, 28:36], tolerance)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif() -> None:
    assert close(load_rgb_u8(encoded(quadrants(), "AVIF", quality=100))[2:6, 4:12], np.array([255, 0, 0]), 12)


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    try:
        contents = encoded(quadrants(64, 64), "HEIF", quality=95)
    except Exception as error:  # the encoder is an optional part of libheif
        pytest.skip(f"no HEIF encoder: {error}")
    assert close(load_rgb_u8(contents)[4:12, 4:12], np.array([255, 0, 0]), 16)


# orientation -> colours of the corners of the upright picture: upper left, upper right, lower left, lower right
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATIONS = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (BLUE, RED, WHITE, GREEN),
    7: (WHITE, GREEN, BLUE, RED),
    8: (GREEN, WHITE, RED, BLUE),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = load_rgb_u8(encoded(quadrants(), kind, exif=exif))
    assert rgb.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    corners = (rgb[3, 3], rgb[3, -4], rgb[-4, 3], rgb[-4, -4])
    for corner, colour in zip(corners, ORIENTATIONS[orientation], strict=True):
        assert close(corner, np.array(colour), 25)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored() -> None:
    contents = encoded(quadrants(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert load_rgb_u8(contents).shape == (24, 40, 3)


def test_alpha_is_laid_on_white() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:8, :, 3] = 255
    pixels[8:, 8:, 3] = 128
    for contents in (encoded(Image.fromarray(pixels), "PNG"), encoded(Image.fromarray(pixels), "WEBP", lossless=True)):
        rgb = load_rgb_u8(contents)
        assert tuple(rgb[2, 2]) == (200, 0, 0)
        assert tuple(rgb[12, 2]) == (255, 255, 255)
        assert close(rgb[12, 12], np.array([227, 127, 127]), 1)


def test_transparent_palette_and_grey() -> None:
    palette = quadrants().quantize(8)
    index = palette.getpixel((2, 2))
    assert tuple(load_rgb_u8(encoded(palette, "PNG", transparency=index))[2, 2]) == (255, 255, 255)
    assert tuple(load_rgb_u8(encoded(palette, "PNG"))[2, 2]) == (255, 0, 0)
    grey = Image.fromarray(np.full((16, 16), 77, np.uint8))
    assert tuple(load_rgb_u8(encoded(grey, "PNG"))[3, 3]) == (77, 77, 77)
    assert tuple(load_rgb_u8(encoded(grey, "PNG", transparency=77))[3, 3]) == (255, 255, 255)
    faint = Image.merge("LA", (grey, Image.fromarray(np.zeros((16, 16), np.uint8))))
    assert tuple(load_rgb_u8(encoded(faint, "PNG"))[3, 3]) == (255, 255, 255)
    assert tuple(load_rgb_u8(encoded(Image.new("1", (16, 16), 1), "PNG"))[3, 3]) == (255, 255, 255)


def test_cmyk() -> None:
    cmyk = Image.merge("CMYK", [Image.fromarray(np.full((16, 16), v, np.uint8)) for v in (0, 255, 255, 0)])
    for kind, tolerance in (("TIFF", 0), ("JPEG", 6)):
        assert close(load_rgb_u8(encoded(cmyk, kind))[8, 8], np.array([255, 0, 0]), tolerance)


def test_sixteen_bit() -> None:
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        rgb = load_rgb_u8(encoded(Image.fromarray(values), kind))
        assert close(rgb[..., 0], expected, 1) and close(rgb[..., 2], expected, 1)
    assert close(load_rgb_u8(values)[..., 1], expected, 0)
    floats = Image.fromarray((expected / 255.0).astype(np.float32))
    assert close(load_rgb_u8(encoded(floats, "TIFF"))[..., 1], expected, 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN, BLUE)]
    contents = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert close(load_rgb_u8(contents)[10, 10], np.array(RED), 4)


def test_sources_agree(tmp_path: Path) -> None:
    picture = quadrants()
    path = tmp_path / "Jürgen 写真.png"
    picture.save(path)
    expected = np.asarray(picture)
    for source in (path, str(path), path.read_bytes(), picture, expected, expected.astype(np.int64), expected / 255.0):
        assert np.array_equal(load_rgb_u8(source), expected)
    alpha = np.concatenate([expected, np.full((24, 40, 1), 255, np.uint8)], axis=2)
    assert np.array_equal(load_rgb_u8(alpha), expected)
    assert load_rgb_u8(expected[..., 0]).shape == (24, 40, 3)
    assert load_rgb_u8(expected[..., :1]).shape == (24, 40, 3)
    assert load_rgb_u8(expected[..., 0] > 9).max() == 255
    assert tuple(load_rgb_u8(np.zeros((9, 9, 2), np.uint8))[0, 0]) == (255, 255, 255)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("width", "height"), [(9000, 9000), (11000, 10000), (60000, 60000), (31000, 10)])
def test_too_many_pixels_are_refused_on_the_header(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="million"):
        load_rgb_u8(png_header(width, height))


@pytest.mark.filterwarnings("default")
def test_a_large_header_is_refused_whatever_the_warning_filter() -> None:
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageError, match="million"):
        load_rgb_u8(png_header(11000, 10000))


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(quadrants(), "PNG") + b"\0" * 2**20)
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="1 MB"):
            load_rgb_u8(source)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not a picture"),
        (b"%PDF-1.7 something", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (png_header(20, 20), "damaged"),
        (png_header(4, 4), "at least 8"),
    ],
)
def test_what_is_no_picture(contents: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "upload.png"
    path.write_bytes(contents)
    for source in (contents, path):
        with pytest.raises(ImageError, match=words):
            load_rgb_u8(source)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    contents = encoded(noise, kind)
    with pytest.raises(ImageError):
        load_rgb_u8(contents[: int(len(contents) * share)])


def test_bad_paths_and_types(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing.png", "no\0name.png"):
        with pytest.raises(ImageError):
            load_rgb_u8(source)
    with pytest.raises(ImageError, match="NoneType"):
        load_rgb_u8(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((10, 10, 5), np.uint8),
        np.zeros(10, np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.full((10, 10, 3), np.nan),
        np.full((10, 10, 3), 2.5),
        np.full((10, 10, 3), -1),
        np.full((10, 10, 3), 300),
        np.zeros((10, 10, 3), complex),
    ],
)
def test_bad_arrays(array: np.ndarray) -> None:
    with pytest.raises(ImageError):
        load_rgb_u8(array)


def test_resize_square_takes_the_centre() -> None:
    rgb = np.zeros((20, 60, 3), np.uint8)
    rgb[:, 20:40] = 200
    assert np.array_equal(resize_square(rgb, 64), np.full((64, 64, 3), 200, np.uint8))
    assert resize_square(rgb[:, 20:40], 20).shape == (20, 20, 3)


def test_png_round_trip_with_text() -> None:
    rgb = np.asarray(quadrants())
    info = PngImagePlugin.PngInfo()
    info.add_itxt("recipe", "größe 1")
    contents = to_png_bytes(rgb, info)
    assert np.array_equal(load_rgb_u8(contents), rgb)
    assert Image.open(io.BytesIO(contents)).info["recipe"] == "größe 1"
