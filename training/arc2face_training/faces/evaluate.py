"""Held-out figures of the exported face networks, through insightface as the product uses them.

`python -m arc2face_training.faces.evaluate models/starter/antelopev2 --people 200` prints JSON. Odd seeds only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from arc2face.faces.analyser import Face, FaceAnalyser
from arc2face_training.common.world import PeopleWorld
from arc2face_training.faces.recogniser import verification
from arc2face_training.faces.sprites import Composition, Sprites, compose, make_sprites

Float32 = NDArray[np.float32]
SIZES = ((48, 64), (64, 128), (128, 256), (256, 480))
CANVAS = 512


@dataclass
class Tally:
    """Counts of one group of pictures."""

    faces: int = 0
    found: int = 0
    extra: int = 0
    point_error: float = 0.0

    def figures(self, name: str) -> dict[str, float]:
        """Recall, false finds per face, mean distance of the five points in percent of the box."""
        return {
            f"{name}_found": self.found / max(self.faces, 1),
            f"{name}_false_per_face": self.extra / max(self.faces, 1),
            f"{name}_point_error_percent": 100 * self.point_error / max(self.found, 1),
        }


def intersection_over_union(a: Float32, b: Float32) -> float:
    """Of two boxes x0 y0 x1 y1."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(float(width), 0.0) * max(float(height), 0.0)
    total = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - shared
    return shared / max(total, 1e-6)


def count(tally: Tally, truth: Composition, found: tuple[Face, ...]) -> None:
    """Match finds to faces at an overlap of 0.5."""
    left = list(found)
    tally.faces += len(truth.boxes)
    for box, points in zip(truth.boxes, truth.points, strict=True):
        overlaps = [intersection_over_union(np.asarray(face.box), box) for face in left]
        if overlaps and max(overlaps) >= 0.5:
            face = left.pop(int(np.argmax(overlaps)))
            side = float(max(box[2] - box[0], box[3] - box[1]))
            tally.found += 1
            tally.point_error += float(np.linalg.norm(np.asarray(face.points) - points, axis=1).mean()) / side
    tally.extra += len(left)


def detection(faces: FaceAnalyser, sprites: Sprites, per_group: int) -> dict[str, float]:
    """One face per picture at each range of sizes (box side in a 512-pixel picture), then three at once."""
    figures: dict[str, float] = {}
    rng = np.random.default_rng(5)
    for low, high in SIZES:
        tally = Tally()
        for _ in range(per_group):
            truth = compose(rng, sprites, CANVAS, 1, (low, high))
            count(tally, truth, faces.detect(truth.picture))
        figures |= tally.figures(f"face_{low}_{high}")
    several, nobody = Tally(), 0
    for _ in range(per_group // 2):
        truth = compose(rng, sprites, CANVAS, 3, (60, 200))
        count(several, truth, faces.detect(truth.picture))
        nobody += len(faces.detect(compose(rng, sprites, CANVAS, 0, (1, 2)).picture)) > 0
    return figures | several.figures("several") | {"false_alarm_in_empty_pictures": nobody / max(per_group // 2, 1)}


def portraits(faces: FaceAnalyser, people: int, per_person: int, size: int = 128) -> dict[str, float]:
    """Renders framed as the generator's pictures: detection, landmarks, and verification by detected points."""
    world, tally, error = PeopleWorld(), Tally(), [0.0]
    vectors: list[Float32] = []
    labels: list[int] = []
    for person in range(people):
        seed = 2 * person + 100_001
        person, rng = world.identity(seed), np.random.default_rng([seed, 77])
        for _ in range(per_person):
            picture = world.render(person, world.sample_state(rng), size, ("rgb",))
            assert picture.rgb_u8 is not None
            truth = Composition(picture.rgb_u8, picture.box[None], picture.points5[None])
            found = faces.detect(picture.rgb_u8)
            count(tally, truth, found)
            if found:
                vectors.append(faces.embed(picture.rgb_u8, found[0]).normalized)
                labels.append(person)
                if faces.landmarks_path is not None:
                    distance = np.linalg.norm(faces.landmarks(picture.rgb_u8, found[0]) - picture.landmarks68, axis=1)
                    error.append(float(distance.mean()) / float(picture.box[3] - picture.box[1]))
    figures = tally.figures("portrait")
    if len(error) > 1:
        figures["landmark_error_percent_of_box"] = 100 * float(np.mean(error[1:]))
    embeddings = F.normalize(torch.from_numpy(np.stack(vectors)))
    return figures | {f"recogniser_{k}": v for k, v in verification(embeddings, torch.tensor(labels)).items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--per-person", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    analyser = FaceAnalyser.from_folder(options.folder, ["CPUExecutionProvider"])
    figures = detection(analyser, make_sprites(options.pictures, 200_001), options.pictures)
    figures |= portraits(analyser, options.people, options.per_person)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
