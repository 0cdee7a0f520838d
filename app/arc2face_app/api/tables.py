"""The fields that several endpoints share: who, which pose, which expression, how. Bounds come from the library."""

from __future__ import annotations

from functools import partial

import gradio as gr

from arc2face import checks
from arc2face.expression.values import AMOUNT_RANGE, EYELID_RANGE, JAW_OPEN_RANGE, JAW_TURN_RANGE
from arc2face.settings import (
    CHOOSABLE_SCHEDULERS,
    COMBINE_METHODS,
    CONTROL_STRENGTH_RANGE,
    DECODERS,
    DEFAULT_IMAGES,
    DEFAULT_NEGATIVE_STRENGTH,
    DEFAULT_SCHEDULER,
    ENLARGE_FACTORS,
    FAST,
    FULL,
    LOOK_STRENGTH_RANGE,
    MAX_IMAGES,
    MAX_SEED,
    NEGATIVE_STRENGTH_RANGE,
    PASTE_MASKS,
    PITCH_LIMIT,
    ROLL_LIMIT,
    SCHEDULERS,
    YAW_LIMIT,
    one_of,
    span,
)
from arc2face_app.api.fields import (
    Field,
    file_field,
    files_field,
    flag_field,
    json_field,
    real_field,
    text_field,
    whole_field,
)

FACE_RANGE = (0, 1000)
SHARE = (0.0, 1.0)
_NUMBERS = {
    "anyOf": [
        {"type": "object", "additionalProperties": True},
        {"type": "array", "items": {"type": "number"}, "minItems": 55, "maxItems": 55},
    ]
}
"""An expression: named parts, or the 55 numbers."""


def face_field(name: str, text: str) -> Field:
    """Which of several faces in a photo."""
    return whole_field(name, text, 0, "A face", FACE_RANGE)


def expression_field(name: str, text: str) -> Field:
    """The numbers of an expression."""
    return json_field(name, text, schema=_NUMBERS)


FACES = json_field(
    "faces",
    "Which face counts in each photo, 0 is the best, for example [0, 1].",
    schema={"type": "array", "items": {"type": "integer", "minimum": 0}},
)
PERSON: tuple[Field, ...] = (
    files_field("photos", "One or more pictures of one person; the first one gives the look when it is kept."),
    file_field("identity_file", "A saved identity (.npz, or a .npy of 512 numbers), used instead of photos."),
    FACES,
)
COMBINING: tuple[Field, ...] = (
    text_field(
        "method",
        f"How several photos are combined: {one_of(COMBINE_METHODS)}.",
        "mean",
        partial(checks.choice, "The method", options=COMBINE_METHODS),
    ),
    flag_field("drop_outliers", "Leave out photos that look like someone else."),
)
YAW = real_field(
    "yaw",
    f"Degrees to the picture's right, {-YAW_LIMIT:g} to {YAW_LIMIT:g}.",
    None,
    "The turn (yaw) in degrees",
    (-YAW_LIMIT, YAW_LIMIT),
)
PITCH = real_field(
    "pitch",
    f"Degrees downwards, {-PITCH_LIMIT:g} to {PITCH_LIMIT:g}.",
    None,
    "The nod (pitch) in degrees",
    (-PITCH_LIMIT, PITCH_LIMIT),
)
ROLL = real_field(
    "roll",
    f"Degrees, {-ROLL_LIMIT:g} to {ROLL_LIMIT:g}; the top of the head to the picture's left.",
    None,
    "The tilt (roll) in degrees",
    (-ROLL_LIMIT, ROLL_LIMIT),
)
ANGLES: tuple[Field, ...] = (YAW, PITCH, ROLL)
POSE: tuple[Field, ...] = (
    file_field("reference", "A photo that shows the pose."),
    face_field("reference_face", "Which face of that photo counts."),
    file_field("normal_map", "A square normal map saved by this app, instead of a pose photo."),
    *ANGLES,
)
ACTING: tuple[Field, ...] = (
    real_field(
        "strength",
        f"How firmly the pose acts, {span(CONTROL_STRENGTH_RANGE)}; 1 is as trained.",
        1,
        "The pose strength",
        CONTROL_STRENGTH_RANGE,
    ),
    real_field("start", "Share of the steps at which the pose begins to act.", 0, "The start of the pose", SHARE),
    real_field("end", "Share of the steps at which it ends.", 1, "The end of the pose", SHARE),
)
SETTINGS: tuple[Field, ...] = (
    whole_field(
        "num_images",
        f"How many pictures, 1 to {MAX_IMAGES}.",
        DEFAULT_IMAGES,
        "The number of pictures",
        (1, MAX_IMAGES),
    ),
    whole_field(
        "seed", "Picture k uses seed + k; the same request gives the same pictures.", 0, "The seed", (0, MAX_SEED)
    ),
    whole_field(
        "steps",
        f"Denoising steps, {span(FULL.steps_range)}, usually {FULL.steps}; in fast mode {span(FAST.steps_range)}, "
        f"usually {FAST.steps}.",
        None,
        "The number of steps",
        FULL.steps_range,
    ),
    real_field(
        "guidance_scale",
        f"{span(FULL.guidance_range)}, usually {FULL.guidance_scale:g}; 1 switches it off, as fast mode does.",
        None,
        "The guidance scale",
        FULL.guidance_range,
    ),
    flag_field("fast", "Few-step sampling with the LCM adapter."),
    text_field(
        "scheduler",
        f"{one_of(CHOOSABLE_SCHEDULERS)}; ignored in fast mode.",
        DEFAULT_SCHEDULER,
        partial(checks.choice, "The scheduler", options=SCHEDULERS),
    ),
    whole_field(
        "keep_best",
        "Keep only the k pictures most similar to the person; 0 keeps all.",
        0,
        "The number of pictures to keep",
        (0, MAX_IMAGES),
    ),
    text_field(
        "decoder",
        f"{one_of(DECODERS)}; small is quicker, its quality unverified.",
        "auto",
        partial(checks.choice, "The decoder", options=DECODERS),
    ),
    real_field(
        "guidance_start",
        "Share of the steps at which guidance begins; quality unverified above 0.",
        0,
        "The start of guidance",
        SHARE,
    ),
    real_field(
        "guidance_end",
        "Share of the steps at which guidance ends; quality unverified below 1.",
        1,
        "The end of guidance",
        SHARE,
    ),
)
ENLARGE = Field(
    "enlarge",
    lambda: gr.Number(None, label="Enlarge"),
    f"Also give each picture {one_of(map(str, ENLARGE_FACTORS))} times as large; interpolated, no detail is added.",
    None,
    partial(checks.one_number, "The enlargement", options=ENLARGE_FACTORS),
    {"type": "integer", "enum": list(ENLARGE_FACTORS)},
)
NEGATIVE: tuple[Field, ...] = (
    file_field(
        "not_like",
        "A photo or saved identity (.npz, .npy) of somebody the pictures should not look like; needs a guidance scale "
        "above 1.",
    ),
    real_field(
        "not_like_strength",
        f"How firmly, {span(NEGATIVE_STRENGTH_RANGE)}.",
        DEFAULT_NEGATIVE_STRENGTH,
        "The strength of the negative identity",
        NEGATIVE_STRENGTH_RANGE,
    ),
)
EXPRESSION: tuple[Field, ...] = (
    file_field("expression_photo", "A photo that shows the expression."),
    face_field("expression_face", "Which face of that photo counts."),
    expression_field("expression", "Numbers instead of a photo, as read_expression returns them, or a list of 55."),
    real_field(
        "amount",
        f"0 neutral, 1 as found, up to {AMOUNT_RANGE[1]:g} exaggerated.",
        1,
        "The amplitude",
        AMOUNT_RANGE,
    ),
)
EDITS: tuple[Field, ...] = (
    text_field("preset", "A named expression instead of a photo or numbers; `presets` lists them."),
    file_field("second_photo", "A second photo to blend with."),
    face_field("second_face", "Which face of that photo counts."),
    real_field("blend", "Share of the second photo, 0 to 1.", 0.5, "The blend", SHARE),
    real_field(
        "left_eyelid",
        f"The person's left, {span(EYELID_RANGE)}: open to closed; as found when left out.",
        None,
        "The left eyelid",
        EYELID_RANGE,
    ),
    real_field("right_eyelid", "The person's right.", None, "The right eyelid", EYELID_RANGE),
    real_field("jaw_open", f"Radians, {span(JAW_OPEN_RANGE)}.", None, "The jaw opening", JAW_OPEN_RANGE),
    real_field("jaw_side", f"Radians, {span(JAW_TURN_RANGE)}.", None, "The sideways jaw rotation", JAW_TURN_RANGE),
    real_field("jaw_roll", f"Radians, {span(JAW_TURN_RANGE)}.", None, "The rolling jaw rotation", JAW_TURN_RANGE),
)
STRENGTH = real_field(
    "strength",
    f"How firmly the pictures follow the expression, {span(CONTROL_STRENGTH_RANGE)}; 1 is as trained.",
    1,
    "The expression strength",
    CONTROL_STRENGTH_RANGE,
)
KEEP_LOOK = real_field(
    "keep_look",
    "0 makes a new picture; 0.8 keeps the photo's look and background, 1 nearly copies it.",
    0,
    "Keeping the look",
    LOOK_STRENGTH_RANGE,
)
PASTE = text_field(
    "paste_back",
    f"Also blend each picture into the full photo: {one_of(PASTE_MASKS)}. Needs keep_look.",
    None,
    partial(checks.choice, "The paste-back mask", options=PASTE_MASKS),
)
TURN_HEAD = flag_field("turn_head", "Also turn the head, as reference, normal_map or yaw, pitch and roll say.")
