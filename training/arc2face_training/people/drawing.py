"""One picture: puts a posed person, light and camera into the arrays that the rasteriser takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people import raster
from arc2face_training.people.camera import View, exposure, finish, gain
from arc2face_training.people.columns import EXPRESSION_COLUMNS
from arc2face_training.people.hairlight import Lit, dither, shade_strands
from arc2face_training.people.outfit import dress, outside_hat
from arc2face_training.people.person import Person, _axes
from arc2face_training.people.posing import Posed
from arc2face_training.people.state import State
from arc2face_training.people.strands import Strands

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
OVERSAMPLING = 2
BACKGROUND_SHARE = 0.70
BEHIND_LIPS = 0.05
"""Decimetres that teeth and tongue count as further away, so that they never show through skin."""
SHADOW_SIZE, SHADOW_SPAN = 288, 5.4
_BROW_COLUMNS = [EXPRESSION_COLUMNS.index(n) for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]


class Drawing:
    """Draws one moment of one person."""

    def __init__(self, person: Person, state: State, posed: Posed, view: View, size: int) -> None:
        self.person, self.state, self.posed, self.view, self.size = person, state, posed, view, size
        self.big = OVERSAMPLING * size
        self.outfit = dress(person, state)
        self.vertices, self.normals = self._surface()
        self.key_grid = person.grid.passing(posed.turn.T @ state.light.key) if not person.grid.empty else None

    def picture(self) -> tuple[U8, U8]:
        """RGB (S, S, 3) and coverage (S, S), uint8."""
        big, outfit = self.big, self.outfit
        screen = self.view.project(self.vertices)
        screen[:, :2] *= OVERSAMPLING
        screen[self.person.shared.mouth, 2] += BEHIND_LIPS
        faces = outfit.faces
        ids, bary, depth = raster.zbuffer(np.ascontiguousarray(screen), faces, big)
        hair = np.zeros((big * big, 4), np.float32)
        self._strands(depth, hair)
        shadow, frame = self._shadow(faces)
        scene = raster.Scene(faces, outfit.materials, outfit.static, self._moving(), self._params(), shadow, frame)
        colour = raster.shade(scene, ids, bary, hair, big)
        turn = self.view.turned
        shown = np.array([np.cos(turn), np.sin(turn), BACKGROUND_SHARE], np.float32)
        layers = raster.Layers(colour, ids, hair, self.state.background, shown)
        light = gain(self._exposure(colour, ids, hair[:, 3]), self.state.warmth)
        values, cover = raster.develop(layers, big, light)
        shape = (self.size, self.size)
        return finish(values.reshape(*shape, 3), self.state), (cover.reshape(shape) * 255 + 0.5).astype(np.uint8)

    def _exposure(self, colour: Float32, ids: NDArray[np.int32], veil: Float32) -> float:
        """Measured on every fifth sample of bare skin."""
        some = np.arange(0, len(ids), 5)
        some = some[(ids[some] >= 0) & (veil[some] < 0.5)]
        own = ids[some]
        bare = self.outfit.static[self.outfit.faces[own, 0], 10] <= 0
        some = some[(self.outfit.materials[own] == 0) & bare]
        return exposure(colour[some], self.state)

    def _surface(self) -> tuple[Float32, Float32]:
        person, posed, outfit = self.person, self.posed, self.outfit
        normals = raster.vertex_normals(np.ascontiguousarray(posed.vertices), person.shared.drawn)
        vertices = posed.vertices + normals * outfit.raised[:, None]
        if outfit.eyewear is not None:
            worn = np.ascontiguousarray(posed.with_head(outfit.eyewear.vertices))
            vertices = np.concatenate([vertices, worn])
            own = np.concatenate([outfit.eyewear.frame, outfit.eyewear.lenses])
            normals = np.concatenate([normals, raster.vertex_normals(worn, np.ascontiguousarray(own))])
        return np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(normals, np.float32)

    def _moving(self) -> Float32:
        person = self.person
        moving = np.empty((len(self.vertices), raster.N_MOVING), np.float32)
        moving[:, 0:3], moving[:, 3:6] = self.vertices, self.normals
        moving[:, 6:9] = self.normals
        n = len(person.rest)
        moving[:n, 6:9] = person.shared.soften(self.normals[:n])
        moving[:, 9] = 1
        if self.key_grid is not None and not self.state.hat:
            local = (self.vertices[:n] - self.posed.pivot) @ self.posed.turn + self.posed.pivot
            lifted = local + 0.07 * (self.posed.turn.T @ self.state.light.key)
            moving[:n, 9] = person.grid.look_up_smooth(self.key_grid, lifted)
        return np.ascontiguousarray(moving)

    def _strands(self, depth: Float32, hair: Float32) -> None:
        """Draw the hair of the head, lashes, beard, then brows: what may lie over other strands comes first."""
        person = self.person
        own = person.hair
        if own is not None:
            if self.state.hat:
                own = replace(own, alpha=own.alpha * outside_hat(own.points))
            self._draw(own.posed(self.posed, person.rest), own, 0.0, depth, hair)
        lashes = person.lashes
        points = lashes.points(self.posed)
        dark = np.full((len(points), 3), 0.006, np.float32)
        soft = np.tile(np.array([0, 0, 1], np.float32), (len(points), 1))
        self._draw(points, Strands(points, dark, lashes.alpha, soft, None, 0.1), 0.02, depth, hair)
        if person.hair_beard is not None:
            self._draw(person.hair_beard.posed(self.posed, person.rest), person.hair_beard, 0.0, depth, hair)
        self._draw(person.brows.posed(self.posed, person.rest), person.brows, 0.02, depth, hair)

    def _draw(self, points: Float32, group: Strands, bias: float, depth: Float32, hair: Float32) -> None:
        n, k = points.shape[:2]
        flat = points.reshape(-1, 3)
        screen = self.view.project(flat).reshape(n, k, 3)
        screen[..., :2] *= OVERSAMPLING
        lit = Lit(points, group.soft @ self.posed.turn.T, *self._shares(flat, n, k))
        light = shade_strands(group, lit, self.state.light, self.view.eye)
        span = (float(screen[..., 2].min()), float(screen[..., 2].max()))
        raster.strands(
            np.ascontiguousarray(screen), np.ascontiguousarray(light), np.ascontiguousarray(group.alpha), self.big,
            bias, span, depth, hair,
        )  # fmt: skip

    def _shares(self, flat: Float32, n: int, k: int) -> tuple[Float32, Float32]:
        grid = self.person.grid
        if self.key_grid is None:
            ones = np.ones((n, k), np.float32)
            return ones, ones
        local = (flat - self.posed.pivot) @ self.posed.turn + self.posed.pivot
        index = grid.index(local + np.repeat(dither(n), k, axis=0))
        key = self.key_grid.reshape(-1)[index].reshape(n, k)
        return key, self.person.hair_occlusion.reshape(-1)[index].reshape(n, k)

    def _shadow(self, faces: NDArray[np.int32]) -> tuple[Float32, Float32]:
        key = self.state.light.key
        x_axis, y_axis = _axes(key)
        origin = self.view.origin + np.array([0, -0.2, -0.8], np.float32)
        scale = np.float32(SHADOW_SIZE / SHADOW_SPAN)
        relative = self.vertices - origin
        flat = np.stack([relative @ x_axis * scale + SHADOW_SIZE / 2, relative @ y_axis * scale + SHADOW_SIZE / 2,
                         -(relative @ key)], 1)  # fmt: skip
        _, _, depth = raster.zbuffer(np.ascontiguousarray(flat, np.float32), faces, SHADOW_SIZE)
        frame = np.concatenate([origin, x_axis, y_axis, [scale]]).astype(np.float32)
        return depth.reshape(SHADOW_SIZE, SHADOW_SIZE), frame

    def _params(self) -> Float32:
        look, light, state = self.person.look, self.state.light, self.state
        p = np.zeros(raster.N_PARAMS, np.float32)
        p[0:3], p[3:6], p[6:9], p[9:12] = light.key, light.key_colour, light.rim, light.rim_colour
        p[12:30], p[30:33], p[33] = light.cube.ravel(), self.view.eye, light.soft
        p[34:37] = (look.noise_seed % 101) * 0.173
        brow_up = float(state.expression[_BROW_COLUMNS].mean())
        p[37], p[38], p[39], p[40] = look.pores, look.freckles, look.wrinkles, brow_up * (0.4 + 0.6 * look.wrinkles)
        p[41], p[42], p[43] = look.oil, 1.0, look.melanin
        for start, (centre, turn, radius) in zip((44, 57), self.posed.eyes, strict=True):
            p[start : start + 3], p[start + 3 : start + 12], p[start + 12] = centre, turn.ravel(), radius
        p[70:73], p[73:76], p[76] = look.iris, look.iris_inner, look.pupil
        p[77:80], p[80:83] = state.cloth, 0.012 if state.sunglasses else look.frame
        p[83:92], p[92:101] = light.catch.ravel(), light.catch_sizes.ravel()
        p[101:133] = self.person.moles.ravel()
        p[133], p[134], p[135] = look.lip_gloss, look.red_eyes, look.iris_radius
        p[136:139], p[139:142] = light.fill, light.fill_colour
        p[142], p[143:146] = state.cloth_kind, state.cloth2
        return p
