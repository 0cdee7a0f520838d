"""All adapters, in the order they are entered: the reference adapter records the plain UNet, so it comes first.

A new one is its file here and its line in `ADAPTERS` (see `base.py`).
"""

from __future__ import annotations

from arc2face.diffusion.adapters.base import Adapter
from arc2face.diffusion.adapters.expression import ExpressionAdapter
from arc2face.diffusion.adapters.lcm import LcmAdapter
from arc2face.diffusion.adapters.pose import PoseAdapter
from arc2face.diffusion.adapters.reference import ReferenceAdapter
from arc2face.diffusion.adapters.small_decoder import SmallDecoderAdapter

ADAPTERS: tuple[Adapter, ...] = (
    ReferenceAdapter(),
    LcmAdapter(),
    PoseAdapter(),
    ExpressionAdapter(),
    SmallDecoderAdapter(),
)

__all__ = [
    "ADAPTERS",
    "Adapter",
    "ExpressionAdapter",
    "LcmAdapter",
    "PoseAdapter",
    "ReferenceAdapter",
    "SmallDecoderAdapter",
]
