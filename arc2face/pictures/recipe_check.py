"""Recipes that somebody else may have written: bounded work, known kinds of values, one sentence when wrong."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from arc2face.errors import Arc2FaceError, ImageError, SettingsError
from arc2face.types import (
    EMBEDDING_SIZE,
    EXPRESSION_SIZE,
    Expression,
    ExpressionCondition,
    Float32Array,
    GenerationRequest,
    IdentityEmbedding,
    NegativeIdentity,
    PoseCondition,
    ReferenceCondition,
)

MAX_TEXT = 1 << 18
"""Bytes of a recipe at most; ours have about 2,000."""
MAX_CHUNKS = 4096
MAX_DEPTH = 12
SETTINGS = (
    "num_images",
    "seed",
    "steps",
    "guidance_scale",
    "fast",
    "scheduler",
    "height",
    "width",
    "decoder",
    "guidance_start",
    "guidance_end",
)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_RECIPE = "This picture carries no recipe; only PNG files saved by this app do."


def recipe_text(source: Path | str | bytes, keyword: str) -> str:
    """The text chunk `keyword` of a PNG. No pixel is decoded, so that the picture's size does not matter.

    Raises:
        ImageError: not a readable picture. SettingsError: there is no such chunk, or it is far too large.
    """
    try:
        if isinstance(source, bytes):
            found = _find(io.BytesIO(source), keyword)
        else:
            with Path(source).open("rb") as stream:
                found = _find(stream, keyword)
    except (OSError, ValueError, struct.error) as error:
        raise ImageError("This file is not a readable picture.") from error
    if found is None:
        raise SettingsError(_NO_RECIPE)
    return found


def parse_recipe(text: str) -> dict[str, Any]:
    """The recipe in a text, checked. Raises SettingsError when it is no JSON, or as `check_recipe` does."""
    try:
        recipe = json.loads(text)
        text.encode("utf-8")
        json.dumps(recipe, ensure_ascii=False).encode("utf-8")  # lone surrogates pass json.loads
    except (ValueError, RecursionError) as error:
        raise _damaged("it is no JSON text") from error
    return check_recipe(recipe)


def check_recipe(recipe: object) -> dict[str, Any]:
    """The recipe itself, every value of a kind and within the range that a request accepts.

    Raises:
        SettingsError: too deep, no settings, or a value that no request accepts; the message names it.
    """
    if not isinstance(recipe, dict) or _depth(recipe) > MAX_DEPTH:
        raise _damaged("it is no simple JSON object")
    fields = cast("dict[str, Any]", recipe)
    settings = _mapping(fields, "settings")
    for name in ("identity", "negative", "pose", "expression", "reference", "models", "adapters"):
        if fields.get(name) is not None:
            _mapping(fields, name)
    try:
        GenerationRequest(identity=_ANYONE, **_known(settings))
        _check_parts(fields)
    except Arc2FaceError as error:
        raise _damaged(str(error)) from error
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise _damaged("a value has the wrong kind") from error
    return fields


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in SETTINGS if name in settings}


def _check_parts(recipe: Mapping[str, Any]) -> None:
    if (expression := recipe.get("expression")) is not None:
        values = np.asarray(expression["values"], np.float32)
        if values.shape != (EXPRESSION_SIZE,):
            raise SettingsError(f"an expression has {EXPRESSION_SIZE} numbers")
        ExpressionCondition(Expression(values), expression.get("strength", 1.0))
    if (pose := recipe.get("pose")) is not None:
        acting = {name: pose[name] for name in ("strength", "start", "end") if name in pose}
        PoseCondition(_NO_PICTURE, **acting)
        if (angles := pose.get("angles")) is not None and (
            not isinstance(angles, list)
            or len(cast("list[Any]", angles)) != 3
            or not np.isfinite(np.asarray(angles, np.float64)).all()
        ):
            raise SettingsError("the angles of the pose are three numbers")
    if (reference := recipe.get("reference")) is not None:
        ReferenceCondition(_NO_PICTURE, reference.get("strength", 0.8))
    if (negative := recipe.get("negative")) is not None:
        NegativeIdentity(_ANYONE, negative.get("strength", 1.0))
    person: Mapping[str, Any] = recipe.get("identity") or {}
    if not isinstance(person.get("recogniser_sha256"), str | None):
        raise SettingsError("the recogniser's hash is no text")
    if (stored := person.get("embedding")) is not None:
        stored_embedding(stored)


def stored_embedding(text: object) -> Float32Array:
    """(512,) float32 from the base64 text of a recipe. Raises SettingsError."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if len(data) != 4 * EMBEDDING_SIZE:
        raise SettingsError(f"The identity embedding in a recipe is {EMBEDDING_SIZE} numbers in base64.")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _mapping(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = recipe.get(name)
    if not isinstance(found, dict):
        raise _damaged(f"{name} is no JSON object")
    return cast("dict[str, Any]", found)


def _damaged(reason: str) -> SettingsError:
    return SettingsError(f"The recipe in this picture cannot be used: {reason}")


def _depth(value: object, level: int = 1) -> int:
    if level > MAX_DEPTH or not isinstance(value, dict | list):
        return level
    items = cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)
    return max((_depth(item, level + 1) for item in items), default=level)


def _find(stream: BinaryIO, keyword: str) -> str | None:
    if stream.read(8) != _SIGNATURE:
        raise ValueError("no PNG")
    for kind, body in _text_chunks(stream):
        name, _, rest = body.partition(b"\0")
        if name.decode("latin-1") != keyword:
            continue
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"zTXt":
            return _inflated(rest[1:]).decode("latin-1")
        compressed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
        return (_inflated(rest) if compressed else rest).decode("utf-8")
    return None


def _text_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MAX_CHUNKS):
        header = stream.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            stream.seek(length + 4, io.SEEK_CUR)
            continue
        if length > MAX_TEXT:
            raise SettingsError("The text in this picture is far too large to be a recipe.")
        body = stream.read(length)
        stream.seek(4, io.SEEK_CUR)
        yield kind, body


def _inflated(data: bytes) -> bytes:
    engine = zlib.decompressobj()
    try:
        text = engine.decompress(data, MAX_TEXT)
    except zlib.error as error:
        raise ValueError("damaged text") from error
    if engine.unconsumed_tail:
        raise SettingsError("The text in this picture is far too large to be a recipe.")
    return text


_ANYONE = IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32))
_NO_PICTURE = np.zeros((8, 8, 3), np.uint8)
