"""Damaged, hostile and very large pictures: what is refused, what is shown, and what it costs."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import ImageError
from arc2face.pictures import decoding
from arc2face.pictures import loading as imaging
from arc2face.pictures.jpeg import read_scans
from arc2face.pictures.loading import load_rgb_u8
from tests.encoded import close, encoded, noise, quadrants


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


CASES = Path(__file__).parent / "data" / "cases"


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
