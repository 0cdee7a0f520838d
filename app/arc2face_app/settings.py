"""How the server runs: one frozen value. `arc2face_app.cli.serve` fills it from flags, the environment and these
defaults.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arc2face.errors import SettingsError
from arc2face.settings import SWITCHES, Switch

if TYPE_CHECKING:
    from arc2face.types import VramPolicy

__all__ = ["ServerSettings", "parse_auth", "parse_hosts"]

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "fp32", "fp16")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
VRAM = ("resident", "offload", "sequential")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of `arc2face app`.

    `host`: address to listen on; the default is this machine only. `port`: 1 to 65535. `share`: a public Gradio
    link, off by default. `auth`: (user, password) that the page asks for, or None. `root_path`: path prefix behind a
    reverse proxy. `models`: models folder, None for the best one found. `device`: auto, cpu, cuda, cuda:N, mps.
    `dtype`: auto, fp32, fp16. `vram`: resident, offload or sequential. `budget_bytes`: upper bound for loaded weights
    on the device, None for no bound. `fast_path`: captured steps on CUDA; auto, on (insist) or off. `batching`: whether
    waiting requests of one kind run together; auto (on the fast path), on or off. `preload`: load everything at the
    start. `mcp`: also serve the endpoints to MCP clients. `hosts`: names under which the page is reached besides `host`
    itself, such as that of a reverse proxy; "*" for any (see `arc2face_app.guard`). `outputs`: folder in which
    everything made on the page is kept, None for nowhere; only where this machine alone reaches the page. `studio`:
    whether visitors may draw data sets; auto (where this machine alone reaches the page), on or off.

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
    fast_path: Switch = "auto"
    batching: Switch = "auto"
    preload: bool = False
    mcp: bool = True
    hosts: tuple[str, ...] = ()
    outputs: Path | None = None
    studio: Switch = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"The port must lie between 1 and 65535, not {self.port}.")
        if self.device.partition(":")[0] not in DEVICES:
            raise SettingsError(f"Unknown device {self.device!r}; choose auto, cpu, cuda, cuda:1 or mps.")
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("VRAM policy", self.vram, VRAM)
        _one_of("fast path", self.fast_path, SWITCHES)
        _one_of("batching", self.batching, SWITCHES)
        _one_of("studio", self.studio, SWITCHES)
        if self.budget_bytes is not None and self.budget_bytes <= 0:
            raise SettingsError("The memory budget must be larger than zero.")
        if self.share and self.auth is None:
            raise SettingsError("A public link needs a password: set --auth user:password (or ARC2FACE_AUTH) too.")
        if self.outputs is not None and not self.alone:
            raise SettingsError(
                "An outputs folder would keep what other people make here, so it is for a page that only this machine "
                "reaches. Leave out --outputs (ARC2FACE_OUTPUTS), or --host, --hosts, --root-path and --share."
            )

    @property
    def has_studio(self) -> bool:
        """Whether visitors may draw data sets: where this machine alone reaches the page, or where that was switched

        on; never on ZeroGPU, whose bookings are too short.
        """
        if os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true"):
            return False
        return self.studio == "on" or (self.studio == "auto" and self.alone)

    @property
    def alone(self) -> bool:
        """Whether only this machine reaches the page: on loopback, behind no proxy, no public link, no Space."""
        shared = self.share or self.hosts or self.root_path or os.environ.get("SPACE_ID")
        return self.host.lower() in LOOPBACK and not shared


def parse_auth(text: str) -> tuple[str, str]:
    """`user:password`; the password may hold colons. Raises SettingsError."""
    user, colon, password = text.partition(":")
    if not colon or not user or not password:
        raise SettingsError("A login is written user:password, with both parts.")
    return user, password


def parse_hosts(text: str) -> tuple[str, ...]:
    """Host names, separated by commas or spaces, in lower case."""
    return tuple(text.lower().replace(",", " ").split())


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"Unknown {what} {value!r}; choose one of {', '.join(allowed)}.")
