"""What was found in each visitor's photos, kept from the upload to the result, so that nothing is computed twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arc2face.faces.photo import Photo

MAX_PHOTOS = 48
"""Photos remembered per visitor; the one unused for longest goes first."""
MAX_PIXEL_BYTES = 128 * 1024 * 1024
"""Decoded pictures kept per visitor; what was found stays when the pixels go."""


class PhotoShelf:
    """Photos by visitor and uploaded file. Thread-safe. Gradio names a file by its content, so a path says enough."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._photos: dict[str, OrderedDict[str, Photo]] = {}

    def get(self, session: str, path: str) -> Photo:
        """The photo of a file, with whatever was found in it before. Opens nothing."""
        from arc2face.faces.photo import Photo

        with self._lock:
            shelf = self._photos.setdefault(session, OrderedDict())
            photo = shelf.pop(path, None) or Photo(path)
            shelf[path] = photo
            while len(shelf) > MAX_PHOTOS:
                shelf.popitem(last=False)
            self._trim(shelf)
        return photo

    def forget(self, session: str) -> None:
        """Drop everything of one visitor."""
        with self._lock:
            self._photos.pop(session, None)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(shelf) for shelf in self._photos.values())

    def _trim(self, shelf: OrderedDict[str, Photo]) -> None:
        kept = 0
        for photo in reversed(shelf.values()):
            kept += photo.pixel_bytes
            if kept > MAX_PIXEL_BYTES:
                kept -= photo.pixel_bytes
                photo.forget_pixels()
