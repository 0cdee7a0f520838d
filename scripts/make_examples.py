"""Draw the examples of the page: photos, poses, expressions, a clip and a group photo of people who do not exist.

`python -m scripts.make_examples` writes app/arc2face_app/page/assets/examples/; repeat it when the world changes. It
needs the package anny (see training/README.md). The clip is H.264, 3 s long; all stay well under 200 kB.
"""

from __future__ import annotations

import argparse
import importlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face_app.page.theme import EXAMPLES
from arc2face_training.people import PeopleWorld, State
from scripts.make_people import SIDE, as_webp, drawn, portrait

FACES = (100_001, 100_005, 100_029, 100_043, 100_045, 100_103)
"""Seeds of the example people; odd, so none that the models were trained on."""
SHOWN = {"poses": 100_009, "expressions": 100_091}
ACTOR, GROUP = 100_005, (100_049, 100_033, 100_087)
POSES = {
    "1-left": (-0.5, 0.0, 0.0),
    "2-right": (0.5, 0.0, 0.0),
    "3-down": (0.0, 0.33, 0.0),
    "4-tilted": (0.15, 0.0, 0.3),
}
"""Yaw, pitch and roll in radians."""
EXPRESSIONS: dict[str, dict[str, float]] = {
    "1-smile": {"mouthSmile": 1.2, "cheekSquint": 0.6, "mouthStretch": 0.3},
    "2-surprised": {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9},
    "3-wink": {"mouthSmile": 0.7, "cheekSquintLeft": 0.6},
    "4-frown": {"browDown": 1.0, "mouthFrown": 0.9, "noseSneer": 0.3},
}
JAWS, LIDS = {"1-smile": 0.1, "2-surprised": 0.28}, {"3-wink": (1.0, 0.0)}
RATE, SECONDS, CLIP_SIDE, CRF = 12, 3, 256, "24"
TALL, WIDE, STEP = 360, 800, 218
"""Pixels: height and width of the group photo, and from one person to the next."""
WALL = ((0.80, 0.84, 0.88), (0.62, 0.70, 0.78))
"""RGB of the background, top and bottom."""
U8 = NDArray[np.uint8]


def wall(height: int, width: int) -> NDArray[np.float32]:
    """(height, width, 3) float32 RGB in 0..1: a plain gradient."""
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(colour, np.float32) for colour in WALL)
    return np.broadcast_to(top * (1 - share) + bottom * share, (height, width, 3)).astype(np.float32)


def turned(world: PeopleWorld, name: str) -> State:
    """The moment of an example pose."""
    state = portrait(world, SHOWN["poses"])
    state.yaw, state.pitch, state.roll = POSES[name]
    state.upright = 0.0  # the alignment would take the tilt out of the picture
    state.gaze = np.zeros(2, np.float32)
    return state


def expressive(world: PeopleWorld, name: str) -> State:
    """The moment of an example expression."""
    state = portrait(world, SHOWN["expressions"]).set(**EXPRESSIONS[name])
    state.jaw[0] = JAWS.get(name, 0.0)
    state.eyelids[:] = LIDS.get(name, (0.0, 0.0))
    return state


def clip(world: PeopleWorld) -> list[U8]:
    """The head turns to one side and the other while the person smiles, raises the brows and blinks."""
    pictures = list[U8]()
    for number in range(RATE * SECONDS):
        t = number / (RATE * SECONDS)
        state = portrait(world, ACTOR)
        state.background = wall(CLIP_SIDE, CLIP_SIDE)
        state.yaw, state.pitch, state.roll = 0.38 * float(np.sin(2 * np.pi * t)), 0.0, 0.0
        state.gaze = np.array([-0.5 * state.yaw, 0.0], np.float32)
        smile = float(np.sin(np.pi * min(1.0, 1.3 * t)) ** 2)
        brows = 0.7 * float(np.sin(np.pi * t) ** 4)
        state.set(mouthSmile=smile, cheekSquint=0.5 * smile, browInnerUp=brows, browOuterUp=brows)
        state.jaw[0] = 0.22 * smile**2
        state.eyelids[:] = float(np.exp(-(((t - 0.82) / 0.04) ** 2)))
        pictures.append(drawn(world, ACTOR, state, CLIP_SIDE))
    return pictures


def group(world: PeopleWorld) -> U8:
    """Three people side by side before one wall, with calm faces; the last one looks a little aside."""
    canvas = (255 * wall(TALL, WIDE)).astype(np.float32)
    for place, seed in enumerate(GROUP):
        state = portrait(world, seed)
        state.view = 1.42 - 0.06 * (place == 1)
        state.yaw, state.pitch, state.roll = (0.12, 0.0, -0.15)[place], 0.0, 0.0
        made = world.render(world.identity(seed), state, TALL, want=("rgb",))
        assert made.rgb_u8 is not None and made.alpha_u8 is not None  # asked for
        left = WIDE // 2 + (place - 1) * STEP - TALL // 2
        area = canvas[:, left : left + TALL]
        cover = made.alpha_u8[..., None].astype(np.float32) / 255
        area[:] = area * (1 - cover) + made.rgb_u8.astype(np.float32) * cover
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def write_mp4(pictures: list[U8], path: Path) -> None:
    """H.264 with 4:2:0 colours, which every browser plays."""
    av: Any = importlib.import_module("av")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE, 1), options={"crf": CRF, "preset": "veryslow"})
        stream.height, stream.width, stream.pix_fmt = CLIP_SIDE, CLIP_SIDE, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def pictures(world: PeopleWorld) -> dict[str, U8]:
    """All but the clip, by their path below the folder of examples."""
    made = {f"faces/{seed}": drawn(world, seed, portrait(world, seed), SIDE) for seed in FACES}
    made |= {f"poses/{name}": drawn(world, SHOWN["poses"], turned(world, name)) for name in POSES}
    made |= {f"expressions/{name}": drawn(world, SHOWN["expressions"], expressive(world, name)) for name in EXPRESSIONS}
    return {**made, "groups/three": group(world)}


def main() -> None:
    """Write all; pictures of faces that are no longer examples go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLES)
    out: Path = parser.parse_args().out
    world = PeopleWorld()
    film = out / "clips" / "turn-and-smile.mp4"
    written = {out / f"{name}.webp": picture for name, picture in pictures(world).items()}
    for path, picture in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_webp(picture))
    for old in set((out / "faces").glob("*.webp")) - set(written):
        old.unlink()
    film.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(clip(world), film)
    for path in (film, *written):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
