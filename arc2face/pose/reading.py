"""The two ways to a normal map: from photos, with the checks that notice a failed reconstruction, and from angles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import arc2face_emoca as emoca
from arc2face.errors import PoseError
from arc2face.faces.alignment import align_rgb_u8
from arc2face.faces.ffhq import aligned_from_picture, transform_points
from arc2face.pose import values as settings
from arc2face.pose.geometry import FacePoints, angles_of, axis_angle, five_points, framing
from arc2face.pose.values import Landmarks, PoseReading
from arc2face.types import Expression, Float32Array, RgbU8

__all__ = ["draw_angles", "read_angles", "read_pose"]


def read_pose(
    model: emoca.Emoca,
    points: FacePoints,
    source_rgb: RgbU8,
    source: Landmarks,
    reference_rgb: RgbU8,
    reference: Landmarks,
    detect: Callable[[RgbU8], Landmarks | None] | None,
    check: bool,
) -> PoseReading:
    """See `PoseReader.read`; landmarks are (68, 2) and finite here."""
    size = settings.ALIGNED_SIZE
    aligned = align_rgb_u8(reference_rgb, reference, size)
    landmarks = detect(aligned) if detect is not None else None
    if landmarks is None:
        height, width = reference_rgb.shape[:2]
        landmarks = transform_points(aligned_from_picture(reference, (width, height), size), reference)
    crops = [emoca.preprocess(source_rgb, source), emoca.preprocess(aligned, landmarks)]
    codes = model.encode(np.stack([crop.image for crop in crops]))
    shape, expression, pose, cam = codes.shape[:1], codes.exp[1:], codes.pose[1:], codes.cam[1:]
    drawn = model.decode(shape, expression, pose, cam, crops[1].tform, size)
    error = _reprojection_error(points, drawn, landmarks)
    rotation = emoca.rotation_matrices(pose[:, :3])[0].cpu().numpy()
    yaw, pitch, roll = angles_of(rotation)
    doubts = _input_doubts(source_rgb, source, reference_rgb, reference)
    doubts += _result_doubts(error, float((drawn.pix_to_face >= 0).float().mean()), rotation, check)
    return PoseReading(
        aligned_rgb_u8=aligned,
        normal_map=drawn.normal_map[0].cpu().numpy(),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        reprojection_error=error,
        warnings=tuple(doubts),
        shape=shape[0].cpu().numpy(),
        expression=expression[0].cpu().numpy(),
        pose=pose[0].cpu().numpy(),
    )


def read_angles(model: emoca.Emoca, rgb: RgbU8, landmarks: Landmarks) -> tuple[float, float, float]:
    """See `PoseReader.angles`: what the encoder says of one picture, with nothing drawn."""
    codes = model.encode(emoca.preprocess(rgb, landmarks).image[None])
    return angles_of(emoca.rotation_matrices(codes.pose[:, :3])[0].cpu().numpy())


def _reprojection_error(points: FacePoints, drawn: emoca.Decoded, landmarks: Landmarks) -> float:
    """Mean distance of the five drawn points from the detected ones, over the detected face's size."""
    height, width = drawn.normal_map.shape[1:3]
    projected = points.on(drawn.projected[0])[:, :2]
    pixels = (projected + 1) / 2 * np.array([width, height]) - 0.5
    low, high = landmarks.min(0), landmarks.max(0)
    face = math.sqrt(max(float(np.prod(high - low)), 1.0))
    error = float(np.hypot(*(pixels - five_points(landmarks)).T).mean()) / face
    return error if math.isfinite(error) else math.inf


def _input_doubts(source_rgb: RgbU8, source: Landmarks, reference_rgb: RgbU8, reference: Landmarks) -> list[str]:
    doubts: list[str] = []
    for name, points in (("source", source), ("reference", reference)):
        if float((points.max(0) - points.min(0)).max()) < settings.SMALL_FACE:
            doubts.append(f"The face in the {name} photo is very small; a larger one gives a better head.")
    across = five_points(source)[1] - five_points(source)[0]
    if abs(math.degrees(math.atan2(across[1], across[0]))) > 60:
        doubts.append("The face in the source photo lies on its side or upside down; turn the photo upright.")
    if source_rgb.shape == reference_rgb.shape and np.array_equal(source_rgb, reference_rgb):
        doubts.append("Source and reference are the same photo, so the pose stays as it is.")
    return doubts


def _result_doubts(error: float, coverage: float, rotation: NDArray[Any], check: bool) -> list[str]:
    doubts: list[str] = []
    failed = error > settings.FAIL_ERROR or coverage < settings.MIN_COVERAGE
    if failed:
        message = (
            "The head could not be reconstructed from the reference photo: its eyes, nose and mouth do not lie where "
            f"they were detected (error {error:.2f} of the face's size). Choose a clearer photo, or use the sliders."
        )
        if check:
            raise PoseError(message)
        doubts.append(message)
    elif error > settings.WARN_ERROR:
        doubts.append(f"The head fits the reference photo only roughly (error {error:.2f} of the face's size).")
    forward = float(rotation[2, 2])  # cosine between the face's direction and the viewer's
    if forward < math.cos(math.radians(settings.YAW_LIMIT)):
        doubts.append("The reference face is turned further than the pose model was trained for; results may be poor.")
    return doubts


def draw_angles(
    model: emoca.Emoca,
    points: FacePoints,
    angles: tuple[float, float, float],
    shape: Float32Array | None,
    expression: Expression | Float32Array | None,
    jaw: float,
    size: int,
) -> RgbU8:
    """See `PoseReader.from_angles`; angles are checked degrees here, `jaw` is in degrees."""
    opening = np.array([math.radians(jaw), 0, 0], np.float32)
    if isinstance(expression, Expression):
        opening, expression = opening + expression.jaw, expression.components
    pose = np.concatenate([axis_angle(*angles), opening])
    codes = [_code(shape, 100, "shape"), _code(expression, 50, "expression"), torch.from_numpy(pose)[None]]
    with torch.inference_mode():
        verts = model.flame(*(code.to(model.device) for code in codes))
        x, y, side = framing(points.on(verts[0])[:, :2])
        cam = verts.new_tensor([[2.0 / side, -x, -y]])
        scale = emoca.CROP_SIZE / size  # the "crop" is the whole picture
        tform = torch.diag(verts.new_tensor([scale, scale, 1.0]))[None]
        return model.draw(verts, cam, tform, size).normal_map[0].cpu().numpy()


def _code(values: Float32Array | None, length: int, name: str) -> torch.Tensor:
    if values is None:
        return torch.zeros(1, length, dtype=torch.float32)
    array = np.array(values, np.float32).reshape(-1)
    if array.size != length or not np.isfinite(array).all():
        raise PoseError(f"The {name} must be {length} finite numbers, not {array.size}.")
    return torch.from_numpy(array)[None]
