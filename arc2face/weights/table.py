"""The table: every checkpoint the project knows, where it comes from and what it needs to be.

Nothing else knows a URL. A value that nobody has published stays None: the size is then asked from the server, and
the hash is recorded at the first verified download (`arc2face.weights.download.ledger`, trust on first use).

Where the hashes come from: those of Stable Diffusion 1.5, LCM-LoRA, antelopev2 and MediaPipe are stated alike by
several independent public projects. Revision `321709b2` of the Arc2Face repository is pinned by a public project;
hashes of its files, of SMIRK, EMOCA and FLAME were not found.

This module imports nothing heavy: it works without torch, numpy and gradio.
"""

from __future__ import annotations

from arc2face.weights.entries import Archive, Origin, Variant, WeightFile
from arc2face.weights.spellings import (
    diffusers_weights,
    face_network,
    lora_weights,
    preferred,
    small_decoder,
    transformers_weights,
)

__all__ = [
    "ARCHIVES",
    "FEATURES",
    "FOREIGN_RECOGNISERS",
    "WEIGHTS",
    "Archive",
    "Origin",
    "Variant",
    "WeightFile",
    "by_key",
    "files_of",
    "spellings",
]

_ARC2FACE = "FoivosPar/Arc2Face"
_ARC2FACE_REVISION = "321709b2e9697ea2a5bd06c8a51b340592333e1e"
_SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_SD15_REVISION = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
_LCM = "latent-consistency/lcm-lora-sdv1-5"
_MPI = "https://download.is.tue.mpg.de/emoca/assets/"
_TAESD = "madebyollin/taesd"
_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
_EMOCA_RUN = "EMOCA_v2_lr_mse_20/detail/checkpoints/"

ARCHIVES: dict[str, Archive] = {
    "antelopev2": Archive(
        "antelopev2",
        "antelopev2.zip",
        "antelopev2",
        (
            "https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip",
            "drive:18wEUfMNohBJ4K3Ly5wpTejPfDzp-8fI8",
        ),
        "insightface",
        360_662_982,
        "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
    ),
    "emoca": Archive(
        "emoca",
        "EMOCA_v2_lr_mse_20.zip",
        "emoca/EMOCA/models",
        (_MPI + "EMOCA/models/EMOCA_v2_lr_mse_20.zip",),
        "emoca",
    ),
    "flame": Archive("flame", "FLAME.zip", "emoca", (_MPI + "FLAME.zip",), "flame"),
}
"""Zip files by key. Only the members that WEIGHTS names are ever taken out."""

FOREIGN_RECOGNISERS: dict[str, str] = {
    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf": "glintr100.onnx of antelopev2 (Glint360K)",
    "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60": "glintr100.onnx of AuraFace",
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43": "w600k_r50.onnx of buffalo_l (WebFace600K)",
}
"""SHA-256 of recognisers that people put in the place of arcface.onnx, and what they are."""


def _arc2face(key: str, path: str, title: str, accepted: tuple[str, ...] = (), remote: str = "") -> WeightFile:
    return WeightFile(
        key, path, title, "mit", "huggingface", _ARC2FACE, remote or path, _ARC2FACE_REVISION, accepted=accepted
    )


def _sd15(part: str, title: str, size: int, sha256: str, fp16: Variant | None = None) -> WeightFile:
    folder = "stable-diffusion-v1-5/"
    return WeightFile(
        "sd15-" + part.replace("/", "-").rsplit(".", 1)[0].replace("_", "-"),
        folder + part,
        title,
        "openrail-m",
        "huggingface",
        _SD15,
        part,
        _SD15_REVISION,
        size,
        sha256,
        diffusers_weights(folder + "vae") if part.endswith(".safetensors") else (),
        fp16,
    )


def _antelope(key: str, name: str, title: str, size: int, sha256: str) -> WeightFile:
    return WeightFile(
        key,
        f"antelopev2/{name}",
        title,
        "insightface",
        "archive",
        "antelopev2",
        f"antelopev2/{name}",
        None,
        size,
        sha256,
        face_network(name),
    )


def _emoca(path: str) -> tuple[str, ...]:
    """In our layout below `emoca/`; the original project's assets folder lacks that part of the path."""
    return f"emoca/{path}", path


def _either(stem: str, suffix: str) -> tuple[str, ...]:
    return f"{stem}.safetensors", f"{stem}{suffix}"


WEIGHTS: tuple[WeightFile, ...] = (
    _arc2face("unet-config", "arc2face/config.json", "Arc2Face UNet, configuration"),
    _arc2face("unet", "arc2face/diffusion_pytorch_model.safetensors", "Arc2Face UNet", diffusers_weights("arc2face")),
    _arc2face("encoder-config", "encoder/config.json", "Arc2Face text encoder, configuration"),
    _arc2face("encoder", "encoder/pytorch_model.bin", "Arc2Face text encoder", transformers_weights("encoder")),
    _arc2face(
        "arcface",
        "antelopev2/arcface.onnx",
        "ArcFace recogniser (WebFace42M)",
        face_network("arcface.onnx"),
        "arcface.onnx",
    ),
    _antelope(
        "detector",
        "scrfd_10g_bnkps.onnx",
        "SCRFD face detector",
        16_923_827,
        "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    ),
    _antelope(
        "landmarks",
        "1k3d68.onnx",
        "68-point landmark network",
        143_607_619,
        "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
    ),
    _sd15(
        "model_index.json",
        "Stable Diffusion 1.5, index",
        541,
        "e2f6f22e274374010aec30c79eb2d6e53fff4a36ac0225523a92cb2d41a83347",
    ),
    _sd15(
        "vae/config.json",
        "Stable Diffusion 1.5 VAE, configuration",
        547,
        "786a7d21647ddea6a04b9675c03d3cb45e90a2f3c6da5fbda2c54ade040036de",
    ),
    _sd15(
        "vae/diffusion_pytorch_model.safetensors",
        "Stable Diffusion 1.5 VAE",
        334_643_276,
        "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
        Variant(
            "stable-diffusion-v1-5/vae/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            167_335_342,
            "4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c",
        ),
    ),
    _sd15(
        "tokenizer/vocab.json",
        "CLIP tokenizer, vocabulary",
        1_059_962,
        "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349",
    ),
    _sd15(
        "tokenizer/merges.txt",
        "CLIP tokenizer, merges",
        524_619,
        "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
    ),
    _sd15(
        "tokenizer/special_tokens_map.json",
        "CLIP tokenizer, special tokens",
        472,
        "c4864a9376a8401918425bed71fc14fc0e81f9b59ec45c1cf96cccb2df508eac",
    ),
    _sd15(
        "tokenizer/tokenizer_config.json",
        "CLIP tokenizer, configuration",
        806,
        "00439066fcba73de57644cf41e4e3b9f2dbb09d7f3fc2005898ba52399045882",
    ),
    _sd15(
        "scheduler/scheduler_config.json",
        "Stable Diffusion 1.5 sampler, configuration",
        308,
        "699cce92eb7c122e2eb7dfdea78e6187fda76a5ed4a8e42319b85610e620e091",
    ),
    _sd15(
        "feature_extractor/preprocessor_config.json",
        "Stable Diffusion 1.5 picture preprocessor, configuration",
        342,
        "2a1da83b5e1032aaeef397552ddb408dca0d8cd1dc58f61bf6abf38d6f33a0a2",
    ),
    WeightFile(
        "lcm",
        "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors",
        "LCM-LoRA for Stable Diffusion 1.5 (fast mode)",
        "openrail-pp",
        "huggingface",
        _LCM,
        "pytorch_lora_weights.safetensors",
        None,
        134_621_556,
        "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4",
        lora_weights("lcm-lora-sdv1-5"),
    ),
    _arc2face("controlnet-config", "controlnet/config.json", "Pose ControlNet, configuration"),
    _arc2face(
        "controlnet",
        "controlnet/diffusion_pytorch_model.safetensors",
        "Pose ControlNet",
        diffusers_weights("controlnet"),
    ),
    WeightFile(
        "emoca",
        f"emoca/EMOCA/models/{_EMOCA_RUN}deca-epoch=10-val_loss/dataloader_idx_0=3.25521111.ckpt",
        "EMOCA v2 checkpoint",
        "emoca",
        "archive",
        "emoca",
        f"{_EMOCA_RUN}*.ckpt",
        accepted=_emoca(f"EMOCA/models/{_EMOCA_RUN}**/*.ckpt"),
    ),
    WeightFile(
        "flame",
        "emoca/FLAME/geometry/generic_model.pkl",
        "FLAME head model",
        "flame",
        "archive",
        "flame",
        "FLAME/geometry/generic_model.pkl",
        accepted=_emoca("FLAME/geometry/generic_model.pkl"),
    ),
    WeightFile(
        "flame-template",
        "emoca/FLAME/geometry/head_template.obj",
        "FLAME head template",
        "flame",
        "archive",
        "flame",
        "FLAME/geometry/head_template.obj",
        accepted=_emoca("FLAME/geometry/head_template.obj"),
    ),
    _arc2face(
        "expression", "exp_adapter/exp_adapter.bin", "Expression adapter", _either("exp_adapter/exp_adapter", ".bin")
    ),
    WeightFile(
        "smirk",
        "smirk/SMIRK_em1.pt",
        "SMIRK expression encoder",
        "smirk",
        "drive",
        "",
        "1T65uEd9dVLHgVw5KiUYL66NUee-MCzoE",
        accepted=_either("smirk/SMIRK_em1", ".pt"),
    ),
    WeightFile(
        "mediapipe",
        "smirk/face_landmarker.task",
        "MediaPipe face landmarker",
        "mediapipe",
        "https",
        "",
        _MEDIAPIPE + "face_landmarker.task",
        None,
        3_758_596,
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    ),
    _arc2face(
        "reference",
        "ref_adapter/pytorch_lora_weights.safetensors",
        "Reference adapter (LoRA)",
        lora_weights("ref_adapter"),
    ),
    WeightFile(
        "small-decoder",
        "taesd/taesd_decoder.safetensors",
        "TAESD, a small decoder for Stable Diffusion 1.x (approximate)",
        "mit",
        "huggingface",
        _TAESD,
        "taesd_decoder.safetensors",
        accepted=small_decoder("taesd"),
    ),
)
"""Every file, in the order in which it is fetched."""

_IDENTITY = tuple(w.key for w in WEIGHTS if w.key.startswith(("unet", "encoder", "arcface", "detector", "sd15")))
_FAST = ("lcm",)
_POSE = ("landmarks", "controlnet-config", "controlnet", "emoca", "flame", "flame-template")
_EXPRESSION = ("landmarks", "expression", "smirk", "mediapipe")
_REFERENCE = ("landmarks", "reference")
_SMALL_DECODER = ("small-decoder",)

FEATURES: dict[str, tuple[str, ...]] = {
    "identity": _IDENTITY,
    "fast": _IDENTITY + _FAST,
    "pose": _IDENTITY + _POSE,
    "expression": _IDENTITY + _EXPRESSION,
    "reference": _IDENTITY + _REFERENCE,
    "small-decoder": _IDENTITY + _SMALL_DECODER,
    "all": tuple(w.key for w in WEIGHTS),
}
"""Keys of the files each feature needs, the identity files included: a feature's list is complete by itself."""

_BY_KEY = {w.key: w for w in WEIGHTS}


def by_key(key: str) -> WeightFile:
    """The file with this key. Raises KeyError for an unknown one."""
    return _BY_KEY[key]


def files_of(feature: str) -> tuple[WeightFile, ...]:
    """Every file a feature needs. Raises KeyError for an unknown feature."""
    return tuple(_BY_KEY[key] for key in FEATURES[feature])


def spellings(key: str, half: bool = False) -> tuple[str, ...]:
    """Every accepted path of the file with this key, in the order in which they are tried; see `preferred`."""
    return preferred(_BY_KEY[key].spellings, half)
