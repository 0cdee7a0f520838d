from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from arc2face.errors import ImageError
from arc2face.pictures import decoding
from arc2face.pictures import loading as imaging
from arc2face.pictures.jpeg import read_scans
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


CASES = Path(__file__).parent / "data" / "cases"


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


def test_a_jpeg_without_its_last_bytes_is_shown() -> None:
    """C4: browsers show it; what is there is exactly what the whole file shows."""
    contents = (CASES / "noeoi.jpg").read_bytes()
    assert not contents.endswith(b"\xff\xd9")
    assert np.array_equal(load_rgb_u8(contents), load_rgb_u8(contents + b"\xff\xd9"))
    assert load_rgb_u8(CASES / "noeoi.jpg").std() > 10


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_how_much_of_a_jpeg_may_be_lost(options: dict[str, object]) -> None:
    """C4: the end marker and a few bytes before it, not a visible part of the picture."""
    whole = encoded(noise(320, 320), "JPEG", quality=90, **options)
    expected = load_rgb_u8(whole)
    assert np.array_equal(load_rgb_u8(whole[:-2]), expected)
    little = load_rgb_u8(whole[:-12])
    assert np.array_equal(little[:300], expected[:300])
    for share in (0.9, 0.6, 0.2):
        with pytest.raises(ImageError, match="damaged"):
            load_rgb_u8(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", ["L", "RGB", "CMYK"])
def test_scans_are_counted_off_the_markers(kind: str) -> None:
    picture = noise(64, 64).convert(kind)
    for progressive in (False, True):
        found = read_scans(encoded(picture, "JPEG", progressive=progressive))
        assert found.ended and found.complete
        assert len(found.coefficients) == {"L": 1, "RGB": 3, "CMYK": 4}[kind]
        assert (found.scans > 3) == progressive
    contents = encoded(picture, "JPEG", progressive=True)
    cut = read_scans(contents[: contents.rfind(b"\xff\xda")])
    assert not cut.ended and not cut.complete


def test_a_jpeg_of_many_passes_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """K7, K18: 320 kB asked for 106 passes over 79 million pixels and held a core for half a minute."""
    contents = encoded(noise(64, 64), "JPEG", progressive=True)
    last = contents.rfind(b"\xff\xda")
    many = contents[:last] + contents[last:-2] * 60 + b"\xff\xd9"
    assert load_rgb_u8(contents).shape == (64, 64, 3)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="passes"):
        load_rgb_u8(many)
    monkeypatch.setattr(decoding, "MAX_SCAN_PIXELS", 64 * 64 * 5)
    with pytest.raises(ImageError, match="passes"):
        load_rgb_u8(contents)


def test_markers_of_any_damage_are_walked_to_an_end() -> None:
    rng = np.random.default_rng(1)
    contents = encoded(noise(40, 40), "JPEG", progressive=True)
    for _ in range(300):
        damaged = bytearray(contents)
        for place in rng.integers(0, len(damaged), 6):
            damaged[place] = rng.integers(0, 256)
        read_scans(bytes(damaged[: rng.integers(2, len(damaged) + 1)]))


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


def test_slow_formats_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_SLOW_PIXELS", 1000)
    with pytest.raises(ImageError, match="million"):
        load_rgb_u8(encoded(quadrants(64, 64), "JPEG2000"))


@pytest.mark.parametrize("format_", ["JPEG RGB", "PNG RGBA", "PNG P", "PNG I;16", "PNG 1"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_very_large_pictures_are_halved(monkeypatch: pytest.MonkeyPatch, format_: str, orientation: int) -> None:
    """K12: far larger than anything needs."""
    kind, mode = format_.split()
    monkeypatch.setattr(decoding, "KEPT_PIXELS", 200 * 150)
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = Image.fromarray(np.full((300, 400), 40000, np.uint16))
    picture = grey if mode == "I;16" else Image.new("RGB", (400, 300), (200, 30, 30)).convert(mode)
    rgb = load_rgb_u8(encoded(picture, kind, exif=exif))
    assert rgb.shape == ((150, 200, 3) if orientation == 1 else (200, 150, 3))
    if mode in ("RGB", "RGBA"):
        assert close(rgb[50, 50], np.array([200, 30, 30]), 6)


def test_memory_of_a_large_deep_png() -> None:
    """K7, K12: a 0.15 MB file of 16 bits took 2.25 GB; now little more than the picture and its RGB copy."""
    script = (
        "import io, resource, sys, numpy as np\n"
        "from PIL import Image\n"
        "from arc2face import load_rgb_u8\n"
        "buffer = io.BytesIO()\n"
        "Image.fromarray(np.zeros((7000, 7000), np.uint16)).save(buffer, 'PNG')\n"
        "load_rgb_u8(np.zeros((8, 8, 3), np.uint8))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load_rgb_u8(buffer.getvalue())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    assert int(done.stdout) < 420_000  # kB: 98 MB decoded, 147 MB RGB, strips and copies


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """K12: several at once add up to one at a time."""
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 100)
    inside: list[int] = []
    real = decoding.decode

    def counted(picture: Image.Image) -> Image.Image:
        assert decoding._large.lock.locked()
        inside.append(1)
        return real(picture)

    monkeypatch.setattr(decoding, "decode", counted)
    contents = encoded(quadrants(), "PNG")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(load_rgb_u8, [contents] * 8))
    assert len(inside) == 8 and all(result.shape == (24, 40, 3) for result in results)


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
