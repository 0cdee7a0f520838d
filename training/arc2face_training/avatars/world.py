"""The avatar world: people by seed, moments by generator, pictures with exact ground truth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars import raster
from arc2face_training.avatars.columns import EXPRESSION_COLUMNS, UNIT_METRES
from arc2face_training.avatars.hair import hair_props
from arc2face_training.avatars.head import PARENTS, HeadModel, head_model
from arc2face_training.avatars.landmarks import five_points
from arc2face_training.avatars.looks import CURLY_STYLES, Look, sample_look
from arc2face_training.avatars.paint import paint
from arc2face_training.avatars.props import Prop, body_props
from arc2face_training.avatars.state import State, rotation, sample_state

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
RESERVED_SEED = 2**31


@dataclass(frozen=True)
class Rendering:
    """A picture and everything known about it.

    `rgb_u8` (S, S, 3) and `normal_map_u8` (S, S, 3, EMOCA's convention) or None when not asked for; `alpha_u8`
    (S, S): coverage of the avatar. `landmarks68` (68, 2), `points5` (5, 2), `box` (4,) x0 y0 x1 y1: float32 pixels,
    pixel centres at half integers. `expression55` (55,). `pose` (3,) yaw, pitch, roll in radians.
    `camera` (3,): EMOCA's scale, tx, ty for this picture's square.
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


class AvatarIdentity:
    """One person, ready to be rendered: head, hair, clothes and glasses as one mesh with one set of weights."""

    def __init__(self, head: HeadModel, seed: int, look: Look | None = None) -> None:
        self.head, self.seed = head, seed
        self.look = sample_look(seed) if look is None else look
        self.texture = np.ascontiguousarray(paint(self.look))
        self.rest = head.shaped(self.look.shape)
        self.eyelid_dirs = head.eyelids_of(self.look.shape)
        skin = self.rest[: head.n_skin]
        normals = raster.vertex_normals(np.ascontiguousarray(skin), head.chart.faces)
        props = [*hair_props(head, self.look, skin, normals), *body_props(head, self.look, skin)]
        self._merge(props)

    @property
    def is_training(self) -> bool:
        """True for seeds that training may see."""
        return self.seed % 2 == 0 and self.seed < RESERVED_SEED

    def attributes(self) -> Float32:
        """(N_ATTRIBUTES,) float32 description of the person."""
        return self.look.attributes()

    def _merge(self, props: list[Prop]) -> None:
        head = self.head
        vertices: list[NDArray[np.floating]] = [self.rest]
        weights = [np.c_[head.weights, np.zeros(head.n_vertices)]]
        faces, materials = [head.faces], [head.materials]
        extra = [np.c_[head.chart_uv, head.occlusion]]
        self.shells: list[slice] = []
        start = head.n_vertices
        for prop in props:
            n = len(prop.vertices)
            if prop.on_skin:
                self.shells.append(slice(start, start + n))
            vertices.append(prop.vertices)
            weights.append(np.pad(prop.weights, ((0, 0), (0, 6 - prop.weights.shape[1]))))
            faces.append((prop.faces + start).astype(np.int32))
            materials.append(np.full(len(prop.faces), prop.material, np.int32))
            extra.append(np.c_[prop.chart, np.full(n, prop.occlusion)])
            start += n
        self.vertices = np.concatenate(vertices).astype(np.float32)
        self.weights = np.concatenate(weights).astype(np.float32)
        self.faces = np.ascontiguousarray(np.concatenate(faces), np.int32)
        self.materials = np.ascontiguousarray(np.concatenate(materials), np.int32)
        self.extra = np.concatenate(extra).astype(np.float32)

    def posed(self, state: State, *, lids: bool = True, props: bool = True) -> Float32:
        """World-space vertices: the head's (V, 3), then the props'. EMOCA's heads have no lids and no gaze."""
        head = self.head
        offset = np.tensordot(state.expression[: len(EXPRESSION_COLUMNS)], head.expression_dirs, axes=1)
        if lids and state.eyelids.any():
            closed = np.clip(state.eyelids, 0, 1)
            offset = offset + np.tensordot(closed, self.eyelid_dirs, axes=1)
            offset += np.tensordot(4 * closed * (1 - closed), head.eyelid_bulge, axes=1)
        vertices = self.vertices.copy() if props else self.vertices[: head.n_vertices].copy()
        vertices[: head.n_vertices] += offset
        for shell in self.shells if props else ():
            vertices[shell] += offset[: head.n_skin]
        joints = head.joint_regressor @ vertices[: head.n_vertices]
        transforms = _joint_transforms(joints, state, gaze=lids)
        weights = self.weights[: len(vertices)]
        out = np.zeros_like(vertices)
        for joint, (linear, shift) in enumerate(transforms):
            out += weights[:, joint : joint + 1] * (vertices @ linear.T + shift)
        return out + weights[:, 5:] * vertices


def _joint_transforms(joints: Float32, state: State, *, gaze: bool) -> list[tuple[Float32, Float32]]:
    eye = rotation(float(state.gaze[0]), float(state.gaze[1]), 0.0) if gaze else np.eye(3)
    local = [rotation(state.yaw, state.pitch, state.roll), np.eye(3), rodrigues(state.jaw), eye, eye]
    linear: list[NDArray[np.float64]] = []
    origin: list[NDArray[np.float64]] = []
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            linear.append(local[joint])
            origin.append(joints[joint].astype(np.float64))
        else:
            linear.append(linear[parent] @ local[joint])
            origin.append(linear[parent] @ (joints[joint] - joints[parent]) + origin[parent])
    return [
        (rot.astype(np.float32), (at - rot @ rest).astype(np.float32))
        for rot, at, rest in zip(linear, origin, joints, strict=True)
    ]


def rodrigues(axis_angle: Float32) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of an axis-angle vector in radians."""
    return np.asarray(cv2.Rodrigues(np.asarray(axis_angle, np.float64))[0])


class AvatarWorld:
    """Maker of avatars. Cheap to construct; the head is shared within a process."""

    def __init__(self) -> None:
        self.head = head_model()

    def identity(self, seed: int) -> AvatarIdentity:
        """The person of a seed (0 or more). Even: training; odd: evaluation; from 2**31 on: reserved."""
        if seed < 0:
            raise ValueError(f"An identity seed is 0 or more, not {seed}.")
        return AvatarIdentity(self.head, seed)

    def sample_state(self, rng: np.random.Generator, *, neutral: bool = False, studio: bool = False) -> State:
        """Draw a moment."""
        return sample_state(rng, neutral=neutral, studio=studio)

    def render(
        self, person: AvatarIdentity, state: State, size: int = 128, want: Collection[str] = ("rgb", "normals")
    ) -> Rendering:
        """Render one picture of `size` pixels. `want` holds "rgb" and/or "normals"; labels always come."""
        head = self.head
        vertices = person.posed(state, props="rgb" in want)
        centre = self._centre(vertices, state)
        screen = _to_screen(vertices, centre, state.view, size)
        rgb, alpha = self._shade(person, state, vertices, screen, size) if "rgb" in want else (None, None)
        normals = self._normal_map(person, state, centre, size) if "normals" in want else None
        landmarks = screen[head.landmarks, :2]
        return Rendering(
            rgb_u8=rgb,
            normal_map_u8=normals,
            alpha_u8=alpha,
            landmarks68=landmarks,
            points5=five_points(landmarks),
            box=self._box(screen),
            expression55=state.expression55,
            pose=state.pose,
            camera=_emoca_camera(centre, state.view),
        )

    def _centre(self, vertices: Float32, state: State) -> Float32:
        """The picture's centre: near the middle of eyes and mouth, drawn a little towards the middle of the head."""
        eyes = vertices[self.head.landmarks[36:48]].mean(0)
        mouth = vertices[self.head.landmarks[[48, 54]]].mean(0)
        ears = vertices[self.head.offsets["ear_left"] : self.head.offsets["neck"]].mean(0)
        centre = 0.6 * eyes + 0.2 * mouth + 0.2 * ears
        centre[:2] += state.shift
        centre[1] += 0.07
        return centre.astype(np.float32)

    def _box(self, screen: Float32) -> Float32:
        chart = self.head.chart
        face = (chart.w > 0.12) & (chart.v < 0.62)
        points = screen[: self.head.n_skin][face, :2]
        return np.concatenate([points.min(0), points.max(0)]).astype(np.float32)

    def _shade(
        self, person: AvatarIdentity, state: State, vertices: Float32, screen: Float32, size: int
    ) -> tuple[U8, U8]:
        normals = raster.vertex_normals(vertices, person.faces)
        palette = np.zeros((7, 3), np.float32)
        palette[1], palette[2], palette[5] = person.look.eyes, person.look.hair, state.cloth
        palette[3], palette[4], palette[6] = (0.97, 0.95, 0.91), (0.78, 0.36, 0.38), person.look.frame
        scene = raster.Scene(
            faces=person.faces,
            attributes=np.ascontiguousarray(np.concatenate([normals, person.extra], 1), np.float32),
            materials=person.materials,
            texture=person.texture,
            palette=palette,
            light=np.concatenate([state.light_direction, state.light_colour, state.ambient]).astype(np.float32),
            curly=person.look.hair_style in CURLY_STYLES,
            background=np.ascontiguousarray(_resized(state.background, size)),
        )
        big = screen * np.array([2, 2, 1], np.float32)
        ids, bary = raster.zbuffer(np.ascontiguousarray(big), person.faces, 2 * size)
        return raster.shade(scene, ids, bary, 2 * size)

    def _normal_map(self, person: AvatarIdentity, state: State, centre: Float32, size: int) -> U8:
        head = self.head
        vertices = np.ascontiguousarray(person.posed(state, lids=False, props=False))
        normals = raster.vertex_normals(vertices, head.faces)
        ids, bary = raster.zbuffer(_to_screen(vertices, centre, state.view, size), head.faces, size)
        hit = ids >= 0
        weights = np.concatenate([bary, 1 - bary.sum(1, keepdims=True)], 1)[hit]
        picture = np.full((size * size, 3), 127, np.uint8)
        mixed = (normals[head.faces[ids[hit]]] * weights[:, :, None]).sum(1)
        picture[hit] = (255 * np.clip(0.5 * mixed + 0.5, 0, 1)).astype(np.uint8)
        return picture.reshape(size, size, 3)


def _to_screen(vertices: Float32, centre: Float32, view: float, size: int) -> Float32:
    """Orthographic projection; x, y in pixels, z growing away from the viewer in units of half a head."""
    scale = np.float32(size / view)
    screen = np.empty_like(vertices)
    screen[:, 0] = (vertices[:, 0] - centre[0]) * scale + size / 2
    screen[:, 1] = (centre[1] - vertices[:, 1]) * scale + size / 2
    screen[:, 2] = -vertices[:, 2]
    return screen


def _emoca_camera(centre: Float32, view: float) -> Float32:
    scale = 2 / (view * UNIT_METRES)
    return np.array([scale, -centre[0] * UNIT_METRES, -centre[1] * UNIT_METRES], np.float32)


def _resized(background: Float32, size: int) -> Float32:
    if background.shape[:2] == (size, size):
        return background.astype(np.float32)
    return np.asarray(cv2.resize(background, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
