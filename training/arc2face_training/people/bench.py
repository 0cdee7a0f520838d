"""Speed of the renderer: pictures of 256 pixels per second of one core.

`python -m arc2face_training.people.bench [--people 6] [--moments 8] [--size 256]`
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from arc2face_training.people.world import PeopleWorld


def measure(people: int, moments: int, size: int, normals: bool) -> dict[str, float]:
    """Seconds of processor time per person and per picture, and pictures per second with everything included."""
    world = PeopleWorld()
    want = ("rgb", "normals") if normals else ("rgb",)
    world.render(world.identity(0), world.sample_state(np.random.default_rng(0)), size, want)
    making, drawing = 0.0, 0.0
    for k in range(people):
        start = time.process_time()
        person = world.identity(2 + 2 * k)
        made = time.process_time()
        for m in range(moments):
            world.render(person, world.sample_state(np.random.default_rng([k, m])), size, want)
        making += made - start
        drawing += time.process_time() - made
    pictures = people * moments
    return {
        "seconds_per_person": round(making / people, 4),
        "seconds_per_picture": round(drawing / pictures, 4),
        "pictures_per_second_and_core": round(pictures / (making + drawing), 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--no-normals", action="store_true")
    o = parser.parse_args()
    print(json.dumps(measure(o.people, o.moments, o.size, not o.no_normals), indent=2))


if __name__ == "__main__":
    main()
