"""Draw the example clip and the example group photo of the page: people of the avatar world, who do not exist.

`python -m scripts.make_examples` writes app/arc2face_app/page/assets/examples/clips/ and groups/; repeat it when the
world changes. The clip is H.264, 3 s long; the photo shows three people. Both stay well under 200 kB.
"""

from __future__ import annotations

import argparse
import importlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face_app.page.theme import EXAMPLES
from arc2face_training.avatars import AvatarWorld, State

ACTOR, GROUP = 100_029, (100_009, 100_021, 100_033)
"""Seeds of the people; odd, so none that the models were trained on."""
RATE, SECONDS, SIDE, CRF = 12, 3, 256, "24"
TALL, WIDE, STEP = 360, 800, 220
"""Pixels: height and width of the group photo, and from one person to the next."""
WALL = ((0.80, 0.84, 0.88), (0.62, 0.70, 0.78))
"""RGB of the background, top and bottom."""
U8 = NDArray[np.uint8]


def wall(height: int, width: int) -> NDArray[np.float32]:
    """(height, width, 3) float32 RGB in 0..1: a plain gradient."""
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(colour, np.float32) for colour in WALL)
    return np.broadcast_to(top * (1 - share) + bottom * share, (height, width, 3)).astype(np.float32)


def clip(world: AvatarWorld) -> list[U8]:
    """The head turns to one side and the other while the person smiles, raises the brows and blinks."""
    person, pictures = world.identity(ACTOR), list[U8]()
    for number in range(RATE * SECONDS):
        t = number / (RATE * SECONDS)
        state = State(background=wall(SIDE, SIDE), view=2.9)
        state.yaw = 0.38 * float(np.sin(2 * np.pi * t))
        smile = float(np.sin(np.pi * min(1.0, 1.3 * t)) ** 2)
        state.set(smile=1.1 * smile, brow_raise=0.7 * float(np.sin(np.pi * t) ** 4))
        state.jaw[0] = 0.22 * smile**2
        state.eyelids[:] = float(np.exp(-(((t - 0.82) / 0.04) ** 2)))
        picture = world.render(person, state, SIDE, want=("rgb",)).rgb_u8
        assert picture is not None  # asked for
        pictures.append(picture)
    return pictures


def group(world: AvatarWorld) -> U8:
    """Three people side by side before one wall, with calm faces; the last one looks a little aside."""
    canvas = (255 * wall(TALL, WIDE)).astype(np.float32)
    for place, seed in enumerate(GROUP):
        state = State(view=3.3 - 0.12 * (place == 1), yaw=(0.12, 0.0, -0.15)[place])
        state.cloth = np.array(((0.55, 0.3, 0.25), (0.2, 0.35, 0.5), (0.35, 0.42, 0.3))[place], np.float32)
        drawn = world.render(world.identity(seed), state, TALL, want=("rgb",))
        assert drawn.rgb_u8 is not None and drawn.alpha_u8 is not None  # asked for
        left = WIDE // 2 + (place - 1) * STEP - TALL // 2
        area = canvas[:, left : left + TALL]
        cover = drawn.alpha_u8[..., None].astype(np.float32) / 255
        area[:] = area * (1 - cover) + drawn.rgb_u8.astype(np.float32) * cover
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def write_mp4(pictures: list[U8], path: Path) -> None:
    """H.264 with 4:2:0 colours, which every browser plays."""
    av: Any = importlib.import_module("av")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE, 1), options={"crf": CRF, "preset": "veryslow"})
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLES)
    out: Path = parser.parse_args().out
    world = AvatarWorld()
    film, photo = out / "clips" / "turn-and-smile.mp4", out / "groups" / "three.webp"
    for path in (film, photo):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(clip(world), film)
    Image.fromarray(group(world)).save(photo, quality=86, method=6)
    for path in (film, photo):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
