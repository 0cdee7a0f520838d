"""Licences of the model files: what they ask of whoever downloads or uses them.

Facts only, no legal advice. `must_accept` marks those that want a registration: the downloader fetches nothing
under them before the user has said that the pages were visited and the terms agreed to.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LICENCES", "Licence"]


@dataclass(frozen=True, slots=True)
class Licence:
    """Terms of one or several model files.

    `key`: what `--accept-licence` takes. `pages`: where the terms stand, and where one registers when
    `must_accept` is true. `commercial`: may be used commercially; None when nobody says so clearly.
    """

    key: str
    title: str
    pages: tuple[str, ...]
    summary: str
    commercial: bool | None
    must_accept: bool = False


_ALL = (
    Licence(
        "mit",
        "MIT",
        ("https://huggingface.co/FoivosPar/Arc2Face",),
        "Free use, as the model card says. The training pictures (WebFace42M and others) carry terms of their own.",
        True,
    ),
    Licence(
        "openrail-m",
        "CreativeML OpenRAIL-M",
        ("https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",),
        "Free use apart from the listed harmful uses, which must be passed on with every copy.",
        True,
    ),
    Licence(
        "openrail-pp",
        "CreativeML OpenRAIL++-M",
        ("https://huggingface.co/latent-consistency/lcm-lora-sdv1-5",),
        "Free use apart from the listed harmful uses, which must be passed on with every copy.",
        True,
    ),
    Licence(
        "insightface",
        "InsightFace model zoo, non-commercial research",
        ("https://github.com/deepinsight/insightface/tree/master/python-package",),
        "The detector and the landmark network are for non-commercial research only; ask InsightFace otherwise.",
        False,
    ),
    Licence(
        "smirk",
        "SMIRK code MIT; nothing is said about the weights",
        ("https://github.com/georgeretsi/smirk",),
        "Trained with data and networks for research only: treat the weights as non-commercial unless cleared.",
        None,
    ),
    Licence(
        "mediapipe",
        "Apache-2.0",
        ("https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",),
        "Free use, as Google's model card says.",
        True,
    ),
    Licence(
        "emoca",
        "EMOCA, Max Planck, non-commercial scientific research",
        ("https://emoca.is.tue.mpg.de",),
        "Registration is required. No commercial use, no passing on, no misleading or defamatory pictures.",
        False,
        must_accept=True,
    ),
    Licence(
        "flame",
        "FLAME 2020, Max Planck, non-commercial scientific research",
        ("https://flame.is.tue.mpg.de",),
        "Registration is required. No commercial use, no passing on, no misleading or defamatory pictures.",
        False,
        must_accept=True,
    ),
)

LICENCES: dict[str, Licence] = {licence.key: licence for licence in _ALL}
"""Every licence by its key."""
