from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from arc2face.errors import ImageError
from arc2face.pictures.loading import load_rgb_u8, resize_square, to_png_bytes
from tests.encoded import close, encoded, quadrants


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


@pytest.mark.parametrize("orientation", [1, 6])
def test_deep_tiff_in_planes(orientation: int) -> None:
    """C4: 16 bits, channel after channel, was decoded as noise and accepted."""
    tifffile = pytest.importorskip("tifffile")
    rgb = np.asarray(quadrants(64, 48))
    deep = (rgb.astype(np.uint16) * 257).transpose(2, 0, 1)
    buffer = io.BytesIO()
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(buffer, deep, planarconfig="separate", photometric="rgb", extratags=tag)
    expected = rgb if orientation == 1 else np.rot90(rgb, -1)
    assert np.array_equal(load_rgb_u8(buffer.getvalue()), expected)
    with pytest.raises(ImageError):
        load_rgb_u8(buffer.getvalue()[:-4000])


def test_jpeg_2000_and_deep_grey_tiff() -> None:
    """C4."""
    assert close(load_rgb_u8(encoded(quadrants(64, 64), "JPEG2000"))[4:12, 4:12], np.array([255, 0, 0]), 2)
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (16, 1))
    assert close(load_rgb_u8(encoded(Image.fromarray(ramp), "TIFF"))[..., 0], ramp // 257, 1)


def test_a_path_with_a_tilde_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2."""
    quadrants().save(tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_rgb_u8("~/a.png").shape == (24, 40, 3)
    with pytest.raises(ImageError):
        load_rgb_u8("~nobody-of-this-name/a.png")


def test_one_picture_or_several() -> None:
    from arc2face.pictures.loading import as_photos

    array = np.zeros((9, 9, 3), np.uint8)
    assert as_photos(array)[0] is array and len(as_photos(array)) == 1
    assert len(as_photos(np.zeros((5, 9, 9, 3), np.uint8))) == 5
    assert as_photos("a.png") == ["a.png"]
    assert as_photos(iter(["a.png", "b.png"])) == ["a.png", "b.png"]
    with pytest.raises(ImageError):
        as_photos(3)  # type: ignore[arg-type]
