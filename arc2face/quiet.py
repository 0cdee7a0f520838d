"""Nothing is reported home: the switches of every library below us that would, set before any of them is imported.

`arc2face` imports this module first. A variable that is already set stays as it is, so whoever wants a library's
reports can have them. A library that was imported before `arc2face` has read its switch already.
"""

from __future__ import annotations

import os

__all__ = ["SWITCHES"]

SWITCHES: dict[str, str] = {
    # onnxruntime >= 1.29 connects to its maker on every session and leaves a device id; it reads this at import only
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub, and through it diffusers, transformers and accelerate
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_TELEMETRY": "1",
    # transformers asks the hub whether somebody has converted a pickled checkpoint
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    # albumentations, which some versions of insightface import, looks for a newer version of itself
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # honoured by a growing number of tools (https://consoledonottrack.com)
    "DO_NOT_TRACK": "1",
}
"""Environment variables and the values that keep the libraries quiet."""

for _name, _value in SWITCHES.items():
    os.environ.setdefault(_name, _value)
