"""Tiny ONNX networks in the exact format of antelopev2, for tests without weights.

The detector finds magenta discs ("faces") whose radius fits one of its three strides, like a detector whose anchors
have a largest size: discs that are too large at one input size are found at a smaller one. The recogniser is a fixed
random projection of the colours around the disc; the landmark network places a mean shape in the detector's box.

    python -m tests.tiny_faces FOLDER     writes the three files
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MAGENTA = (255, 0, 255)
# ArcFace's five points around the centre of its 112 x 112 template, in units of the disc's radius
FIVE_POINTS = (np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]) - 56.0) / 40.0


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def const(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        # insightface guesses the normalisation from node names that start with Sub or Mul
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"node_{len(self.nodes)}", **attributes))
        return name

    def save(self, path: Path, inputs: list[Any], outputs: list[Any]) -> None:
        graph = helper.make_graph(self.nodes, "tiny", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def write_detector(path: Path, size: int | None = None) -> None:
    """SCRFD format, 9 outputs. `size` fixes the input size; None leaves it dynamic."""
    graph = _Graph()
    weights = np.array([0.25, -0.5, 0.25], np.float32).reshape(1, 3, 1, 1)
    magenta = graph.add("Relu", [graph.add("Conv", ["input.1", graph.const(weights)])])
    outputs: dict[str, list[Any]] = {"score": [], "bbox": [], "kps": []}
    for stride in (8, 16, 32):
        for kind, width, value in zip(outputs, (1, 4, 10), _heads(graph, magenta, stride), strict=True):
            name = f"{kind}_{stride}"
            flat = graph.add("Transpose", [value], perm=[0, 2, 3, 1])
            graph.add("Reshape", [flat, graph.const([-1, width], np.int64)], name)
            outputs[kind].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]))
    side = [size, size] if size else ["h", "w"]
    entry = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, *side])
    graph.save(path, [entry], [*outputs["score"], *outputs["bbox"], *outputs["kps"]])


def _heads(graph: _Graph, magenta: str, stride: int) -> tuple[str, str, str]:
    step = stride // 4
    fine = graph.add("AveragePool", [magenta], kernel_shape=[step, step], strides=[step, step])
    ones = np.ones((24, 24), np.float32)
    position = (np.arange(24, dtype=np.float32) - 11.5) / 4.0
    outer = np.stack([ones, ones * position[None, :], ones * position[:, None]])[:, None]
    sums = graph.add("Conv", [fine, graph.const(outer)], pads=[12, 12, 8, 8], strides=[4, 4])
    rim_kernel = np.ones((24, 24), np.float32)
    rim_kernel[1:-1, 1:-1] = 0.0
    rim_kernel /= rim_kernel.sum()
    rim = graph.add("Conv", [fine, graph.const(rim_kernel[None, None])], pads=[12, 12, 8, 8], strides=[4, 4])
    mass = _channel(graph, sums, 0)
    safe = graph.add("Max", [mass, graph.const(1e-3)])
    dx = graph.add("Div", [_channel(graph, sums, 1), safe])
    dy = graph.add("Div", [_channel(graph, sums, 2), safe])
    # a disc counts when its edge stays inside the window, it is not tiny, and this cell is the nearest
    logit = _penalty(graph, rim, 0.02, -4000.0)
    for value, limit, slope in ((mass, 50.0, 2.0), (dx, 0.6, -200.0), (dy, 0.6, -200.0)):
        logit = graph.add("Add", [logit, _penalty(graph, value, limit, slope)])
    score = graph.add("Sigmoid", [graph.add("Add", [logit, graph.const(6.0)])])
    none = graph.add("Mul", [score, graph.const(0.0)])
    radius = graph.add("Sqrt", [graph.add("Mul", [safe, graph.const(1 / 16 / np.pi)])])
    box = [graph.add(kind, [radius, d]) for kind, d in (("Sub", dx), ("Sub", dy), ("Add", dx), ("Add", dy))]
    points = [
        graph.add("Add", [d, graph.add("Mul", [radius, graph.const(float(value))])])
        for row in FIVE_POINTS
        for value, d in zip(row, (dx, dy), strict=True)
    ]
    scores = graph.add("Concat", [score, none], axis=1)
    boxes = graph.add("Concat", [*box, *box], axis=1)
    return scores, boxes, graph.add("Concat", [*points, *points], axis=1)


def _penalty(graph: _Graph, value: str, limit: float, slope: float) -> str:
    """slope * relu(|value| - limit); a positive slope punishes values below the limit instead."""
    if slope > 0:
        excess = graph.add("Sub", [graph.const(limit), value])
    else:
        excess = graph.add("Add", [graph.add("Abs", [value]), graph.const(-limit)])
    return graph.add("Mul", [graph.add("Relu", [excess]), graph.const(-abs(slope))])


def _channel(graph: _Graph, value: str, index: int) -> str:
    return graph.add("Slice", [value, *(graph.const([v], np.int64) for v in (index, index + 1, 1))])


def write_recogniser(path: Path, seed: int = 0) -> None:
    """112 x 112 in, 512 out, norm about 20."""
    graph = _Graph()
    pooled = graph.add("AveragePool", ["input.1"], kernel_shape=[28, 28], strides=[28, 28])
    flat = graph.add("Flatten", [pooled])
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, 4, 4, 512)) * 0.3
    weights[:, 1:3, 1:3] = 0.0  # the disc itself is the same in everybody
    graph.add("Gemm", [flat, graph.const(weights.reshape(48, 512)), graph.const(rng.normal(size=512) * 0.05)], "683")
    entry = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["n", 3, 112, 112])
    graph.save(path, [entry], [helper.make_tensor_value_info("683", TensorProto.FLOAT, ["n", 512])])


def write_landmarks(path: Path) -> None:
    """192 x 192 in, 3309 out: the last 68 points are `mean_shape68`, depth 0."""
    graph = _Graph()
    points = np.zeros((1103, 3), np.float32)
    points[-68:, :2] = mean_shape68() / 1.5
    nothing = graph.add("ReduceMean", ["data"], axes=[1, 2, 3], keepdims=0)
    zero = graph.add("Mul", [nothing, graph.const(0.0)])
    column = graph.add("Reshape", [zero, graph.const([-1, 1], np.int64)])
    graph.add("Add", [column, graph.const(points.reshape(1, -1))], "fc1")
    entry = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 192, 192])
    graph.save(path, [entry], [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["n", 3309])])


def mean_shape68() -> NDArray[np.float64]:
    """A plain 68-point face, x and y in -1..1 of its box, iBUG order."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.9 * np.cos(angle), -0.15 + 1.1 * np.sin(angle)], 1)
    arc = np.linspace(-1, 1, 5)
    left_brow = np.stack([-0.42 + 0.25 * arc, -0.45 + 0.08 * arc**2], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.25, 0.15, 4)], 1)
    nostrils = np.stack([0.16 * arc, 0.28 - 0.05 * arc**2], 1)
    left_eye = np.array([-0.42, -0.25]) + 0.14 * np.array(
        [[-1, 0], [-0.4, -0.4], [0.4, -0.4], [1, 0], [0.4, 0.4], [-0.4, 0.4]]
    )
    mirror = np.array([-1.0, 1.0])
    right_eye = (left_eye * mirror)[[3, 2, 1, 0, 5, 4]]
    return np.concatenate(
        [
            jaw,
            left_brow,
            (left_brow * mirror)[::-1],
            bridge,
            nostrils,
            left_eye,
            right_eye,
            _mouth(12, 1.0),
            _mouth(8, 0.7),
        ]
    )


def _mouth(count: int, size: float) -> NDArray[np.float64]:
    turn = np.pi + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([0.36 * size * np.cos(turn), 0.58 + 0.14 * size * np.sin(turn)], 1)


def write_antelopev2(folder: Path) -> Path:
    """The three networks under their usual names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_detector(folder / "scrfd_10g_bnkps.onnx")
    write_recogniser(folder / "arcface.onnx")
    write_landmarks(folder / "1k3d68.onnx")
    return folder


def draw_face(
    picture: NDArray[np.uint8], x: float, y: float, radius: float, person: tuple[int, int, int] = (40, 190, 60)
) -> None:
    """Paint one "face": a magenta disc in a ring of the `person`'s colour, which must not be reddish or bluish."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    distance = (columns - x) ** 2 + (rows - y) ** 2
    picture[distance <= (1.35 * radius) ** 2] = person
    picture[distance <= radius**2] = MAGENTA


def blank(height: int, width: int, grey: int = 110) -> NDArray[np.uint8]:
    """A plain grey picture."""
    return np.full((height, width, 3), grey, np.uint8)


if __name__ == "__main__":
    write_antelopev2(Path(sys.argv[1]))
