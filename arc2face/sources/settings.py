"""Settings of a request, checked before there is a person: before any model is opened and any photo is read."""

from __future__ import annotations

from typing import Any

import numpy as np

from arc2face.types import EMBEDDING_SIZE, GenerationRequest, IdentityEmbedding

_ANYONE = IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32))


def check_settings(**fields: Any) -> dict[str, Any]:
    """The fields of a GenerationRequest as it would hold them: whole numbers whole, None replaced by the usual value.

    Raises:
        SettingsError: the first field that does not fit, in words.
    """
    request = GenerationRequest(identity=_ANYONE, **fields)
    return {name: getattr(request, name) for name in fields}
