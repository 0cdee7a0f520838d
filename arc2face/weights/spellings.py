"""Under which names a checkpoint is accepted: the one list that every look-up in this project goes by.

`arc2face.weights.table` gives each of its files one of these lists and `ModelsFolder.locate` searches them; loading,
doctor, download, status, recipes and training all ask there. Within a list safetensors come before pickles, one file
before shards, and full before half precision.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "INDEX_SUFFIX",
    "diffusers_weights",
    "face_network",
    "is_half",
    "is_index",
    "lora_weights",
    "preferred",
    "small_decoder",
    "transformers_weights",
]

INDEX_SUFFIX = ".index.json"
_HALF = "fp16"


def diffusers_weights(folder: str) -> tuple[str, ...]:
    """A diffusers model: UNet, VAE or ControlNet in `folder`."""
    return _model(f"{folder}/diffusion_pytorch_model", f"{folder}/diffusion_pytorch_model")


def transformers_weights(folder: str) -> tuple[str, ...]:
    """A transformers model: the text encoder in `folder`."""
    return _model(f"{folder}/model", f"{folder}/pytorch_model")


def lora_weights(folder: str) -> tuple[str, ...]:
    """A LoRA as diffusers saves it."""
    stem = f"{folder}/pytorch_lora_weights"
    return f"{stem}.safetensors", f"{stem}.bin", f"{stem}.{_HALF}.safetensors"


def face_network(name: str) -> tuple[str, ...]:
    """An ONNX network of antelopev2; its zip file unpacks into a second folder of the same name."""
    return f"antelopev2/{name}", f"antelopev2/antelopev2/{name}"


def small_decoder(folder: str) -> tuple[str, ...]:
    """TAESD: its own decoder file, as published or where another program keeps it, else diffusers' file."""
    return (
        f"{folder}/taesd_decoder.safetensors",
        "vae_approx/taesd_decoder.safetensors",
        f"{folder}/diffusion_pytorch_model.safetensors",
    )


def preferred(names: Iterable[str], half: bool) -> tuple[str, ...]:
    """The names in the order in which they are tried: half-precision files first when `half`, else last."""
    return tuple(sorted(names, key=lambda name: is_half(name) is not half))


def is_half(name: str) -> bool:
    """Whether a name is that of a half-precision file."""
    return f".{_HALF}." in name.rpartition("/")[2]


def is_index(name: str) -> bool:
    """Whether a name is that of the list of a sharded checkpoint's parts."""
    last = name.rpartition("/")[2]
    return last.endswith((INDEX_SUFFIX, f".index.{_HALF}.json"))


def _model(safe: str, pickled: str) -> tuple[str, ...]:
    whole = (
        f"{safe}.safetensors",
        f"{safe}.safetensors{INDEX_SUFFIX}",
        f"{pickled}.bin",
        f"{pickled}.bin{INDEX_SUFFIX}",
    )
    half = (
        f"{safe}.{_HALF}.safetensors",
        f"{safe}.safetensors.index.{_HALF}.json",
        f"{safe}.{_HALF}.safetensors{INDEX_SUFFIX}",
        f"{pickled}.{_HALF}.bin",
        f"{pickled}.bin.index.{_HALF}.json",
    )
    return whole + half
