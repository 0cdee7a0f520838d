"""Defaults, ranges and names of generation settings: one table each, for the library, the page, the API and the CLI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MAX_IMAGES = 8
"""Most pictures of one request."""
MAX_SEED = 2**32 - 1 - MAX_IMAGES
"""Largest seed: picture k uses seed + k, which must stay below 2^32."""
DEFAULT_IMAGES = 4
MAX_PHOTOS = 12
"""Most photos that are combined to one identity."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What is usual and what is accepted in one mode of sampling.

    `steps`, `guidance_scale`: used where a request says None. The ranges are what a request may say;
    `usual_guidance` is the part of it that gives good pictures.
    """

    steps: int
    steps_range: tuple[int, int]
    guidance_scale: float
    guidance_range: tuple[float, float]
    usual_guidance: tuple[float, float]


FULL = Mode(25, (1, 100), 3.0, (1.0, 10.0), (1.0, 10.0))
"""DPM-Solver++ and its peers with classifier-free guidance (Arc2Face, section 4: 25 steps, guidance 3)."""
FAST = Mode(4, (1, 8), 1.0, (1.0, 10.0), (1.0, 2.0))
"""LCM-LoRA. A guidance scale above 2 burns the pictures out."""


def mode_of(fast: bool) -> Mode:
    """The mode that a request's `fast` stands for."""
    return FAST if fast else FULL


DEFAULT_SCHEDULER = "dpm++"
FAST_SCHEDULER = "lcm"
SCHEDULERS = {
    DEFAULT_SCHEDULER: "DPM-Solver++ (usual choice)",
    "dpm++-karras": "DPM-Solver++ with Karras noise levels",
    "unipc": "UniPC",
    "euler": "Euler",
    "ddim": "DDIM",
    FAST_SCHEDULER: "LCM",
}
"""Samplers by name. `lcm` belongs to fast mode and to no other."""
CHOOSABLE_SCHEDULERS = tuple(name for name in SCHEDULERS if name != FAST_SCHEDULER)

Decoder = Literal["auto", "exact", "small"]
DECODERS: dict[Decoder, str] = {
    "auto": "exact; small in fast mode on a CPU, where its file is there",
    "exact": "the models' own decoder",
    "small": "TAESD, a twelfth of the time; quality unverified",
}
GUIDANCE_SHARE = (0.0, 1.0)
"""Shares of the steps between which guidance may be asked to act."""
MIDDLE = (0.2, 0.8)
"""Guidance in the middle of the run only (arXiv 2404.07724); offered as a shortcut, quality unverified."""

VramPolicy = Literal["resident", "offload", "sequential"]
VRAM_POLICIES: dict[VramPolicy, str] = {
    "resident": "every loaded part stays on the device",
    "offload": "adapters that are not in use go to host memory",
    "sequential": "every part is on the device only while it is used",
}

Switch = Literal["auto", "on", "off"]
SWITCHES: tuple[Switch, ...] = ("auto", "on", "off")

CombineMethod = Literal["mean", "median"]
COMBINE_METHODS: dict[CombineMethod, str] = {
    "mean": "Average",
    "median": "Median, less swayed by one odd photo",
}
PasteMask = Literal["face", "head"]
PASTE_MASKS: dict[PasteMask, str] = {"face": "Face only", "head": "Whole head"}

CONTROL_STRENGTH_RANGE = (0.0, 2.0)
"""Scale of the ControlNet residuals and of the expression branch; 1 is as trained."""
LOOK_STRENGTH_RANGE = (0.0, 1.0)
DEFAULT_LOOK_STRENGTH = 0.8
"""Weight of the reference LoRA; near 1 the photo is copied, its expression included."""
NEGATIVE_STRENGTH_RANGE = (0.0, 1.0)
DEFAULT_NEGATIVE_STRENGTH = 0.5
"""How far the empty prompt gives way to a person whom guidance leads away from. On the starter models half lowers the
cosine to that person by 0.10 and to the wanted one by 0.03; all of it by 0.20 and 0.15."""

YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT = 75.0, 40.0, 30.0
"""Largest angles in degrees. The published ControlNet knows the frontal hemisphere only, and aligned photos are
upright; beyond these angles training photos are too rare to rely on."""
TURNTABLE_COUNT_RANGE = (1, 64)
TURNTABLE_WIDEST = 60.0
"""Outermost yaw of a turntable in degrees, where none is asked for."""
STRIP_COUNT_RANGE = (2, 64)
DRIVE_RATE, DRIVE_RATE_RANGE = 8.0, (0.5, 30.0)
"""Pictures per second of a driving video."""
DRIVE_MOST = 240
"""Most pictures that one driving video gives: half a minute at the usual rate."""
ANIMATION_KINDS = ("webp", "gif", "mp4")
"""What a series is animated as; MP4 needs a package of its own (arc2face/pictures/animation.py)."""
ENLARGE_FACTORS = (2, 4)


def one_of(names: Iterable[str]) -> str:
    """The names of a table as a sentence part: "a, b or c"."""
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def span(limits: tuple[float, float]) -> str:
    """A range as a sentence part: "1 to 8"."""
    return f"{limits[0]:g} to {limits[1]:g}"
