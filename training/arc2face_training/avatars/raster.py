"""Rasterisation and shading: a C library compiled at first use, or numpy where there is no compiler.

Both paths give the same picture up to rounding. Set AVATARS_RASTER=numpy to force the slow one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars import raster_numpy
from arc2face_training.avatars.columns import TEXTURE_LIMIT

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
_SOURCE = Path(__file__).with_name("raster.c")
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-std=c99")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """What shading needs: triangles, per-vertex attributes (n, 6), materials and the person's colours."""

    faces: Int32
    attributes: Float32
    materials: Int32
    texture: Float32
    palette: Float32
    light: Float32
    curly: bool
    background: Float32


def vertex_normals(vertices: Float32, faces: Int32) -> Float32:
    """Area-weighted normals (V, 3) float32 of length 1."""
    library = _library()
    if library is None:
        return raster_numpy.vertex_normals(vertices, faces)
    normals = np.empty_like(vertices)
    library.vertex_normals(_at(vertices), len(vertices), _at(faces), len(faces), _at(normals))
    return normals


def zbuffer(screen: Float32, faces: Int32, size: int) -> tuple[Int32, Float32]:
    """Nearest face per pixel (size * size,), -1 for none, and its first two barycentric weights."""
    library = _library()
    if library is None:
        return raster_numpy.zbuffer(screen, faces, size)
    ids, bary = np.empty(size * size, np.int32), np.zeros((size * size, 2), np.float32)
    library.zbuffer(_at(screen), _at(faces), len(faces), size, _at(ids), _at(bary))
    return ids, bary


def shade(scene: Scene, ids: Int32, bary: Float32, big: int) -> tuple[U8, U8]:
    """RGB (s, s, 3) and coverage (s, s), uint8, s = big / 2: each pixel is the mean of four samples."""
    library = _library()
    if library is None:
        return raster_numpy.shade(scene, ids, bary, big)
    size = big // 2
    out, alpha = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    library.shade(
        _at(scene.faces), _at(scene.attributes), _at(scene.materials), big, _at(ids), _at(bary), _at(scene.texture),
        scene.texture.shape[0], ctypes.c_float(TEXTURE_LIMIT), _at(scene.palette), _at(scene.light), int(scene.curly),
        _at(scene.background), _at(out), _at(alpha),
    )  # fmt: skip
    return out, alpha


def _at(array: NDArray[np.generic]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("The rasteriser needs C-contiguous arrays.")
    return ctypes.c_void_p(array.ctypes.data)


@functools.cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("AVATARS_RASTER") == "numpy":
        return None
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        _log.info("No C compiler; avatars are rendered with numpy, about five times slower.")
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.CalledProcessError) as error:
        _log.warning("The rasteriser could not be compiled (%s); avatars are rendered with numpy.", error)
        return None


def _compiled(compiler: str) -> Path:
    key = hashlib.sha256(_SOURCE.read_bytes() + repr((_FLAGS, platform.node(), platform.machine())).encode())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "arc2face" / "avatars"
    target = root / f"raster-{key.hexdigest()[:16]}.so"
    if not target.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as folder:
            part = Path(folder) / "raster.so"
            command = [compiler, *_FLAGS, "-o", str(part), str(_SOURCE), "-lm"]
            subprocess.run(command, check=True, capture_output=True)
            part.replace(target)
    return target
