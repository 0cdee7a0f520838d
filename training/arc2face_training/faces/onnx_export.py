"""Writing small ONNX files: weights stored in half precision, computed in single precision."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from arc2face.weights.store import replace_with

OPSET = 18
SMALLEST_HALF = 256
"""Tensors with fewer numbers stay in single precision."""


def export(
    model: nn.Module,
    example: Tensor,
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: dict[str, Any] | None = None,
) -> None:
    """Export an evaluation-mode model; `dynamic` names free dimensions as torch.onnx's `dynamic_shapes` does."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            model.eval().cpu(),
            (example,),
            str(raw),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        loaded = onnx.load(str(raw))
    halved = store_in_half(loaded)
    onnx.checker.check_model(halved)
    with replace_with(path) as part:
        onnx.save(halved, str(part))


def store_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move large float weights to float16 with a Cast in front of their use; the runtime folds it at load."""
    graph = model.graph
    casts: list[onnx.NodeProto] = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALLEST_HALF:
            continue
        name, stored = weight.name, f"{weight.name}_half"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"cast_{len(casts)}", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    # Type annotations of the former weights would contradict nothing, but they cost space.
    del graph.value_info[:]
    model.producer_name = "arc2face-studio"
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.metadata_props[:]
    return model
