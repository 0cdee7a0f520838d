"""Small valid files of every kind, written once into a folder: what the fuzzer changes."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from tests.fuzz.mutate import as_json, pack

DATA = Path(__file__).resolve().parent.parent / "data"
TINY = DATA / "tiny"
Write = Callable[[Path], None]


def pictures(folder: Path) -> None:
    """One picture per format and colour mode that is read."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    rgb = Image.fromarray(noise)
    turned = Image.Exif()
    turned[0x0112] = 6
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb.png": (rgb, {}), "grey16.png": (Image.fromarray(noise[..., 0].astype(np.uint16) * 257), {}),
        "palette.png": (rgb.quantize(16), {"transparency": 3}), "clear.png": (rgb.convert("LA"), {}),
        "bit.png": (rgb.convert("1"), {}), "plain.jpg": (rgb, {"exif": turned}), "grey.jpg": (rgb.convert("L"), {}),
        "passes.jpg": (rgb, {"progressive": True}), "ink.jpg": (rgb.convert("CMYK"), {}), "web.webp": (rgb, {}),
        "clear.webp": (rgb.convert("RGBA"), {"lossless": True}), "few.gif": (rgb.quantize(8), {}),
        "map.bmp": (rgb, {}), "plain.tif": (rgb, {}), "packed.tif": (rgb, {"compression": "tiff_lzw"}),
        "deflated.tif": (rgb.convert("RGBA"), {"compression": "tiff_adobe_deflate"}), "wave.jp2": (rgb, {}),
        "raw.ppm": (rgb, {}), "old.tga": (rgb, {"compression": "tga_rle"}), "new.avif": (rgb, {}),
    }  # fmt: skip
    for name, (picture, options) in made.items():
        try:
            picture.save(folder / name, **options)
        except (KeyError, OSError, ValueError):
            continue  # this Pillow writes no such format
    frames = [rgb.quantize(8), rgb.rotate(90, expand=True).quantize(8)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    tifffile.imwrite(folder / "planes.tif", np.moveaxis(noise, -1, 0).astype(np.uint16) * 257, photometric="rgb")
    shutil.copy(DATA / "cases" / "noeoi.jpg", folder)


def identities(folder: Path) -> None:
    """An `.npz` as it is saved, one deflated, one that holds the embedding only, and a bare `.npy`."""
    vector = np.random.default_rng(1).normal(size=512).astype(np.float32)
    entries: dict[str, Any] = {"format": "arc2face-identity", "embedding": vector, "recogniser_sha256": "a" * 64}
    members = [(f"{name}.npy", npy(value)) for name, value in {**entries, "photos": 3, "app_version": "1.0"}.items()]
    (folder / "saved.npz").write_bytes(pack(members))
    (folder / "deflated.npz").write_bytes(pack(members, 8))
    (folder / "only.npz").write_bytes(pack([("embedding.npy", npy(vector.astype(np.float64)))]))
    (folder / "bare.npy").write_bytes(npy(vector))


def npy(value: Any) -> bytes:
    """An array in NumPy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value))
    return buffer.getvalue()


def recipe() -> dict[str, Any]:
    """A recipe with every part."""
    return {
        "app": "Arc2Face Studio", "version": "1.0", "bundle": "tiny", "similarity": 0.5, "notes": ["x"],
        "settings": {"num_images": 1, "seed": 7, "steps": 4, "guidance_scale": 3.0, "fast": False, "scheduler": "dpm++",
                     "height": 64, "width": 64},
        "identity": {"embedding_sha256": "0" * 64, "recogniser_sha256": "1" * 64, "photos": 1,
                     "embedding": base64.b64encode(np.ones(512, "<f4").tobytes()).decode()},
        "models": {"unet": "2" * 64}, "pose": {"strength": 1.0, "start": 0.0, "end": 1.0, "angles": [1.0, 2.0, 3.0]},
        "expression": {"values": [0.1] * 55, "strength": 0.8}, "reference": {"strength": 0.8},
        "adapters": {"other": {"strength": 1}}, "run": {"num_images": 1, "keep_best": 0, "seed": 7},
    }  # fmt: skip


def recipes(folder: Path) -> None:
    """PNG files that carry a recipe as plain, compressed and international text, and the JSON alone."""
    text = json.dumps(recipe())
    for name, how in {"plain": "text", "packed": "zip", "unicode": "itxt", "packed-unicode": "itxtz"}.items():
        info = PngImagePlugin.PngInfo()
        if how.startswith("itxt"):
            info.add_itxt("arc2face", text, zip=how == "itxtz")
        else:
            info.add_text("arc2face", text, zip=how == "zip")
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png", pnginfo=info)
    (folder / "alone.json").write_text(text)


def expressions(folder: Path) -> None:
    """What `save_expression` writes, and the list of numbers that is understood as well."""
    from arc2face.expression.values import from_dict, save_expression

    save_expression(folder / "saved.json", from_dict([0.1] * 55))
    (folder / "numbers.json").write_bytes(as_json([0.1] * 55))
    (folder / "parts.json").write_bytes(as_json({"jaw": {"open": 0.3}, "eyelids": {"left": 0.5, "right": 0.1}}))


MODEL_FILES = {
    "bundle.json": "models/bundle.json",
    "unet.json": "models/arc2face/config.json",
    "encoder.json": "models/encoder/config.json",
    "controlnet.json": "models/controlnet/config.json",
    "vae.json": "stable-diffusion-v1-5/vae/config.json",
    "scheduler.json": "stable-diffusion-v1-5/scheduler/scheduler_config.json",
    "tokenizer.json": "stable-diffusion-v1-5/tokenizer/tokenizer_config.json",
    "special.json": "stable-diffusion-v1-5/tokenizer/special_tokens_map.json",
    "vocab.json": "stable-diffusion-v1-5/tokenizer/vocab.json",
    "merges.txt": "stable-diffusion-v1-5/tokenizer/merges.txt",
}
"""What the door calls a file -> where it lies in the tiny tree."""


def models(folder: Path) -> None:
    """Every text file of a models folder."""
    for name, place in MODEL_FILES.items():
        shutil.copy(TINY / place, folder / f"tiny.{name}")


def checkpoints(folder: Path) -> None:
    """Both of torch's formats, nested and flat, safetensors, and the index of a sharded one."""
    import torch
    from safetensors.torch import save_file

    flat = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3, dtype=torch.float16)}
    nested = {"state_dict": {"x": flat, "n": torch.tensor(3)}, "epoch": 3, "name": "x", "pair": (1, 2.5)}
    torch.save(flat, folder / "flat.bin")
    torch.save(nested, folder / "nested.ckpt")
    torch.save(nested, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"m": torch.nn.Parameter(flat["a.weight"].t()), "b": torch.ones(2, dtype=torch.bool)}, folder / "odd.pth"
    )
    save_file(flat, folder / "flat.safetensors", metadata={"format": "pt"})
    index = {"metadata": {"total_size": 54}, "weight_map": dict.fromkeys(flat, "part.safetensors")}
    (folder / "list.safetensors.index.json").write_bytes(as_json(index))


def flame_pickles(folder: Path) -> None:
    """The tiny head in several protocols, two of them written by Python 2."""
    from tests import recipe3d

    arrays = dict(recipe3d.golden("generic_model_tiny_expected"))
    for protocol in (0, 2, 4, 5):
        recipe3d.write_flame_pickle(folder / f"head{protocol}.pkl", arrays, protocol)
    for path in recipe3d.GOLDENS.glob("generic_model_tiny_py2_proto*.pkl"):
        shutil.copy(path, folder)


def emoca_checkpoints(folder: Path) -> None:
    """EMOCA's checkpoint with small encoders and no head."""
    import arc2face_emoca as emoca
    from tests import recipe3d

    encoders = recipe3d.small_encoder(236, 1), recipe3d.small_encoder(50, 2)
    entries = emoca.checkpoint_entries(*encoders, recipe3d.geometry())
    recipe3d.write_checkpoint(folder / "small.ckpt", {name: each for name, each in entries.items() if ".E_" in name})
    few = {name: each for name, each in entries.items() if ".E_" not in name or "layers" in name}
    recipe3d.write_checkpoint(folder / "few.ckpt", few)


def smirk_weights(folder: Path) -> None:
    """SMIRK's own file, and one with a handful of its entries."""
    import torch

    from tests.smirk_weights import smirk_state

    state = {name: each.half() if each.is_floating_point() else each for name, each in smirk_state().items()}
    torch.save(state, folder / "whole.pt")
    torch.save(dict(list(state.items())[:20]), folder / "few.pt")


def networks(folder: Path) -> None:
    """The three face networks."""
    from tests.tiny_faces import write_detector, write_landmarks, write_recogniser

    write_detector(folder / "tiny.detector.onnx")
    write_recogniser(folder / "tiny.recogniser.onnx")
    write_landmarks(folder / "tiny.landmarks.onnx")
