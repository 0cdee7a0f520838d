"""Names of the columns of the avatar head's `shapedirs`, and the constants shared by its makers.

The head is stored in FLAME's layout: 300 identity columns, then 100 expression columns. Named columns come first in
each block, the others are zero. A coefficient of 1 is the full named change; the useful range of identity columns is
about -2 to 2, that of expression columns 0 to 1 (smile, brow and mouth shift columns also take negative values).
"""

IDENTITY_COLUMNS = (
    "face_width", "face_length", "jaw_width", "chin_length", "chin_point", "cheekbone", "cheek_full", "forehead",
    "eye_spacing", "eye_size", "eye_height", "eye_tilt", "eye_open", "nose_length", "nose_width", "nose_out",
    "nose_bridge", "nose_tip_up", "brow_ridge", "mouth_width", "mouth_height", "lip_upper", "lip_lower", "ear_size",
)  # fmt: skip
EXPRESSION_COLUMNS = (
    "smile", "frown", "pucker", "brow_raise", "brow_furrow", "cheek_puff", "smirk_left", "smirk_right",
    "upper_lip_raise", "lower_lip_drop", "mouth_stretch", "squint", "eye_widen", "nose_wrinkle", "mouth_shift",
    "brow_raise_left", "brow_raise_right", "lip_press",
)  # fmt: skip
EYELID_NAMES = ("blink_left", "blink_right")
"""SMIRK's two eyelid numbers, left and right of the person; they are no columns of `shapedirs`, as in SMIRK."""

N_IDENTITY, N_EXPRESSION = 300, 100
EXPRESSION_OFFSET = N_IDENTITY

UNIT_METRES = 0.11
"""Half the head's height. The makers work in this unit; the exported model is in metres, as FLAME is."""

EYE_U, EYE_V, EYE_HALF_W, EYE_HALF_H = 0.425, -0.01, 0.225, 0.165
"""Centre and half size of the eye hole on the unit sphere seen from the front (subject's left eye)."""
MOUTH_V, MOUTH_HALF_W = -0.56, 0.29
"""Height and half width of the mouth line on the unit sphere."""
EYEBALL_RADIUS = 0.212

TEXTURE_SIZE = 224
TEXTURE_LIMIT = 1.15
"""The skin texture covers -limit..limit of the chart in both axes."""

MATERIAL_SKIN, MATERIAL_EYE, MATERIAL_HAIR, MATERIAL_TEETH, MATERIAL_TONGUE, MATERIAL_CLOTH, MATERIAL_FRAME = range(7)
