"""A drawn picture as an export wants it: cut out, scaled, encoded. What needs no change goes out byte for byte."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from arc2face.dataset.export.options import Options
from arc2face.errors import InputError, MissingWeightsError
from arc2face.faces.alignment import image_align
from arc2face.faces.analyser import FaceAnalyser
from arc2face.pictures.loading import as_rgb_u8, resize_square
from arc2face.pictures.recipes import XMP
from arc2face.types import RgbU8
from arc2face.weights.folder import best_bundle

__all__ = ["Encoder", "in_order"]

A = TypeVar("A")
B = TypeVar("B")


class Encoder:
    """Turns picture files of a data set into those of an export. Thread-safe, and the same bytes from any thread.

    Pictures that are written anew are marked as synthetic (IPTC digital source type, in XMP); their recipe stays in
    the data set.
    """

    def __init__(self, options: Options, faces: FaceAnalyser | None) -> None:
        """`faces`: finds the face; None opens the models folder's networks, where an alignment needs them.

        Raises MissingWeightsError where an alignment needs networks that are not there.
        """
        self._options = options
        self._faces = faces = usual_faces() if faces is None and options.align != "none" else faces
        if options.align == "ffhq" and faces is not None and faces.landmarks_path is None:
            raise MissingWeightsError("The landmark network 1k3d68.onnx is missing. Run: arc2face download pose")

    def encode(self, data: bytes) -> bytes | None:
        """The picture of the export, None when a face is needed and there is none.

        Raises ImageError for what is no picture.
        """
        if self._options.unchanged:
            return data
        rgb = self._cut(as_rgb_u8(data))
        return None if rgb is None else self._written(rgb)

    def _cut(self, rgb: RgbU8) -> RgbU8 | None:
        options = self._options
        size = options.size or min(rgb.shape[:2])
        if options.align == "none":
            return resize_square(rgb, options.size) if options.size else rgb
        assert self._faces is not None
        faces = self._faces.detect(rgb)
        if not faces:
            return None
        if options.align == "arcface":
            return _norm_crop(rgb, self._faces.closer(rgb, faces[0]).points, size)
        try:
            landmarks = self._faces.landmarks(rgb, faces[0])
            # sampled at four times the size, as FFHQ's 4096 is to its 1024; always 4096 would take a second a picture
            return np.asarray(image_align(rgb, landmarks, size, 4 * size), np.uint8)
        except InputError:  # landmarks that fit no face
            return None

    def _written(self, rgb: RgbU8) -> bytes:
        buffer = io.BytesIO()
        picture = Image.fromarray(rgb)
        if self._options.picture_format == "jpg":
            # no chroma subsampling: recognisers train on such small crops that it would cost them colour edges
            picture.save(buffer, "JPEG", quality=self._options.quality, subsampling=0, xmp=XMP.encode())
        else:
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", XMP)
            picture.save(buffer, "PNG", pnginfo=info)
        return buffer.getvalue()


def in_order(items: Iterable[A], work: Callable[[A], B], workers: int) -> Iterator[tuple[A, B]]:
    """Each item and what `work` makes of it, in the items' order; `workers` threads run a little ahead."""
    if workers <= 1:
        for item in items:
            yield item, work(item)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="arc2face-export") as pool:
        waiting: deque[tuple[A, Future[B]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 2 * workers:
                    done, result = waiting.popleft()
                    yield done, result.result()
            while waiting:
                done, result = waiting.popleft()
                yield done, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def usual_faces() -> FaceAnalyser:
    """The face networks of the models folder that is found first, on the CPU. Raises MissingWeightsError."""
    models = best_bundle(None)
    return FaceAnalyser(
        models.need("detector"), models.need("arcface"), models.locate("landmarks"), ["CPUExecutionProvider"]
    )


def _norm_crop(rgb: RgbU8, points: np.ndarray, size: int) -> RgbU8:
    """The crop that insightface's recognisers see, black where it leaves the picture."""
    from insightface.utils.face_align import norm_crop

    return np.ascontiguousarray(norm_crop(rgb, np.asarray(points, np.float32), image_size=size), np.uint8)
