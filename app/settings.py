"""How the server runs: one frozen value, filled from flags, then from the environment, then from safe defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face.errors import SettingsError

if TYPE_CHECKING:
    from arc2face.types import VramPolicy

__all__ = ["ENVIRONMENT", "ServerSettings"]

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "fp32", "fp16")
VRAM = ("resident", "offload", "sequential")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of `arc2face app`.

    `host`: address to listen on; the default is this machine only. `port`: 1 to 65535. `share`: a public Gradio
    link, off by default. `auth`: (user, password) that the page asks for, or None. `root_path`: path prefix behind a
    reverse proxy. `models`: models folder, None for the best one found. `device`: auto, cpu, cuda, cuda:N, mps.
    `dtype`: auto, fp32, fp16. `vram`: resident, offload or sequential. `budget_bytes`: upper bound for loaded weights
    on the device, None for no bound. `preload`: load everything at the start. `mcp`: also serve the endpoints to MCP
    clients.

    Raises SettingsError for values that cannot be used.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)
    root_path: str = ""
    models: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    vram: VramPolicy = "resident"
    budget_bytes: int | None = None
    preload: bool = False
    mcp: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"The port must lie between 1 and 65535, not {self.port}.")
        if self.device.partition(":")[0] not in DEVICES:
            raise SettingsError(f"Unknown device {self.device!r}; choose auto, cpu, cuda, cuda:1 or mps.")
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("VRAM policy", self.vram, VRAM)
        if self.budget_bytes is not None and self.budget_bytes <= 0:
            raise SettingsError("The memory budget must be larger than zero.")
        if self.share and self.auth is None:
            raise SettingsError("A public link needs a password: set --auth user:password (or ARC2FACE_AUTH) too.")

    @classmethod
    def gather(cls, environ: Mapping[str, str] = os.environ, **flags: Any) -> ServerSettings:
        """Flags win over ARC2FACE_* variables, which win over the defaults. A flag that is None was not given."""
        values: dict[str, Any] = {}
        for one in fields(cls):
            if flags.get(one.name) is not None:
                values[one.name] = flags[one.name]
            elif text := environ.get(ENVIRONMENT[one.name][0], "").strip():
                values[one.name] = _read(one.name, text)
        return cls(**values)


def parse_auth(text: str) -> tuple[str, str]:
    """`user:password`; the password may hold colons. Raises SettingsError."""
    user, colon, password = text.partition(":")
    if not colon or not user or not password:
        raise SettingsError("A login is written user:password, with both parts.")
    return user, password


def parse_bool(text: str) -> bool:
    """1, true, yes, on and their opposites, in any case. Raises SettingsError."""
    value = text.lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{text!r} is neither yes nor no.")


def parse_gigabytes(text: str) -> int:
    """Gigabytes as bytes. Raises SettingsError."""
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{text!r} is not a number of gigabytes.") from error


ENVIRONMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "host": ("ARC2FACE_HOST", str),
    "port": ("ARC2FACE_PORT", int),
    "share": ("ARC2FACE_SHARE", parse_bool),
    "auth": ("ARC2FACE_AUTH", parse_auth),
    "root_path": ("ARC2FACE_ROOT_PATH", str),
    "models": ("ARC2FACE_MODELS", Path),
    "device": ("ARC2FACE_DEVICE", str),
    "dtype": ("ARC2FACE_DTYPE", str),
    "vram": ("ARC2FACE_VRAM", str),
    "budget_bytes": ("ARC2FACE_BUDGET_GB", parse_gigabytes),
    "preload": ("ARC2FACE_PRELOAD", parse_bool),
    "mcp": ("ARC2FACE_MCP", parse_bool),
}
"""The environment variable of each setting, and how its text is read."""


def _read(name: str, text: str) -> Any:
    variable, parse = ENVIRONMENT[name]
    try:
        return parse(text)
    except SettingsError as error:
        raise SettingsError(f"{variable}: {error}") from error
    except ValueError as error:
        raise SettingsError(f"{variable} cannot be read: {text!r}.") from error


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"Unknown {what} {value!r}; choose one of {', '.join(allowed)}.")
