"""The world of people: persons by seed, moments by generator, pictures with exact ground truth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people import raster
from arc2face_training.people.camera import View, frame, orthographic, orthographic_screen
from arc2face_training.people.drawing import Drawing
from arc2face_training.people.genes import sample_genes
from arc2face_training.people.head import HeadModel, head_model
from arc2face_training.people.landmarks import face_box, five_points
from arc2face_training.people.person import Person
from arc2face_training.people.posing import Posed, flame_vertices, pose
from arc2face_training.people.state import State, rotation, sample_state

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Rendering:
    """A picture and everything known about it.

    `rgb_u8` (S, S, 3) and `normal_map_u8` (S, S, 3, EMOCA's convention) or None when not asked for; `alpha_u8`
    (S, S): coverage of the person. `landmarks68` (68, 2), `points5` (5, 2), `box` (4,) x0 y0 x1 y1: float32 pixels,
    pixel centres at half integers. `expression55` (55,). `pose` (3,) yaw, pitch, roll in radians, as the picture
    shows them: the framing may have taken roll out. `camera` (3,): EMOCA's scale, tx, ty for this picture's square.
    """

    rgb_u8: U8 | None
    normal_map_u8: U8 | None
    alpha_u8: U8 | None
    landmarks68: Float32
    points5: Float32
    box: Float32
    expression55: Float32
    pose: Float32
    camera: Float32


class PeopleWorld:
    """Maker of people. Cheap to construct; the head is shared within a process."""

    def __init__(self) -> None:
        self.head: HeadModel = head_model()

    def identity(self, seed: int, group: str | None = None) -> Person:
        """The person of a seed (0 or more). Even: training; odd: evaluation; from 2**31 on: reserved.

        `group` asks for one of columns.GROUPS as the main ancestry (another person than without).
        """
        if seed < 0:
            raise ValueError(f"An identity seed is 0 or more, not {seed}.")
        if group is None:
            return Person(self.head, seed)
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 43])
        return Person(self.head, seed, sample_genes(rng, self.head.assets, group))

    def sample_state(self, rng: np.random.Generator, *, neutral: bool = False, studio: bool = False) -> State:
        """Draw a moment."""
        return sample_state(rng, neutral=neutral, studio=studio)

    def render(
        self, person: Person, state: State, size: int = 256, want: Collection[str] = ("rgb", "normals")
    ) -> Rendering:
        """Render one picture of `size` pixels. `want` holds "rgb" and/or "normals"; labels always come."""
        posed = pose(self.head, person, state)
        marks = posed.vertices[person.shared.landmarks]
        view = frame(marks, state, size)
        landmarks = view.project(marks)[:, :2]
        turn = rotation(0, 0, view.turned) @ rotation(state.yaw, state.pitch, state.roll)
        flame, camera = self._flame(person, state, posed, view, turn, size)
        rgb, alpha = Drawing(person, state, posed, view, size).picture() if "rgb" in want else (None, None)
        normals = self._normal_map(flame, camera, size) if "normals" in want else None
        return Rendering(
            rgb_u8=rgb,
            normal_map_u8=normals,
            alpha_u8=alpha,
            landmarks68=landmarks,
            points5=five_points(landmarks),
            box=face_box(landmarks),
            expression55=state.expression55,
            pose=np.array([state.yaw, state.pitch, state.roll + view.turned], np.float32),
            camera=camera,
        )

    def _flame(
        self, person: Person, state: State, posed: Posed, view: View, turn: NDArray[np.float64], size: int
    ) -> tuple[Float32, Float32]:
        """The FLAME head in the picture's frame, and the camera that lays it over the picture."""
        vertices = flame_vertices(self.head, person.flame, state, turn)
        at = np.searchsorted(self.head.flame_vertices, person.shared.landmarks)
        pixels = view.project(posed.vertices[person.shared.landmarks])[:, :2]
        return vertices, orthographic(vertices[at], pixels, size)

    def _normal_map(self, vertices: Float32, camera: Float32, size: int) -> U8:
        faces = self.head.flame_faces
        normals = raster.vertex_normals(np.ascontiguousarray(vertices), faces)
        screen = np.ascontiguousarray(orthographic_screen(vertices, camera, size))
        ids, bary, _ = raster.zbuffer(screen, faces, size)
        hit = ids >= 0
        weights = np.concatenate([bary, 1 - bary.sum(1, keepdims=True)], 1)[hit]
        picture = np.full((size * size, 3), 127, np.uint8)
        mixed = (normals[faces[ids[hit]]] * weights[:, :, None]).sum(1)
        picture[hit] = (255 * np.clip(0.5 * mixed + 0.5, 0, 1)).astype(np.uint8)
        return picture.reshape(size, size, 3)
