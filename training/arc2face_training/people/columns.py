"""Names and constants shared by the makers of people.

The head file has FLAME's layout: 300 identity columns (principal components of sampled people, in standard
deviations), then 100 expression columns. The first 38 expression columns are ARKit's shapes without blinks, jaw and
gaze, at 1 the full shape, useful from 0 to 1; the others are zero. Lids are two numbers of their own, jaw and eyes
turn as joints.
"""

from __future__ import annotations

EXPRESSION_COLUMNS = (
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthPucker", "mouthFunnel",
    "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "browDownLeft", "browDownRight", "eyeWideLeft",
    "eyeWideRight", "eyeSquintLeft", "eyeSquintRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "noseSneerLeft", "noseSneerRight", "mouthLeft", "mouthRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthClose", "tongueOut",
)  # fmt: skip
EYELID_NAMES = ("eyeBlinkLeft", "eyeBlinkRight")
"""The two eyelid numbers, left and right of the person; no columns of `shapedirs`, as in SMIRK."""

N_IDENTITY, N_EXPRESSION = 300, 100
EXPRESSION_OFFSET = N_IDENTITY
N_CODES = 100
"""Identity coefficients that the product reads, and the first attributes of every person."""

UNIT_METRES = 0.1
"""The makers work in decimetres; the exported model is in metres, as FLAME is."""
FLAME_ORIGIN = (0.0, 7.2, 0.0)
"""Place of the exported model's origin, decimetres: within the head, as FLAME's, so that cameras shift it little."""

MATERIAL_FRAME, MATERIAL_LENS = 6, 7
"""The other materials follow from the assets' parts: 0 skin and cloth, 1 and 2 eyes, 3 teeth, 4 tongue."""
GROUPS = ("african", "asian", "caucasian")
RESERVED_SEED = 2**31
"""Seeds from here on are for nobody here; below, even seeds are for training and odd ones for evaluation."""
