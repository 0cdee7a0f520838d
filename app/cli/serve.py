"""`arc2face app`: the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import console

HELP = "Start the web page. Every flag has an environment variable; a flag wins."

Flag = bool | None

Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1, ARC2FACE_HOST).", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port (7860, ARC2FACE_PORT).", show_default=False)]
Share = Annotated[
    Flag,
    typer.Option("--share/--no-share", help="Public link; needs --auth (off, ARC2FACE_SHARE).", show_default=False),
]
Auth = Annotated[
    str | None,
    typer.Option(
        help="Login, user:password (none, ARC2FACE_AUTH). Prefer the variable: flags are visible to other users.",
        show_default=False,
    ),
]
RootPath = Annotated[
    str | None, typer.Option(help="Path prefix behind a proxy (ARC2FACE_ROOT_PATH).", show_default=False)
]
ModelsFolder = Annotated[
    Path | None, typer.Option("--models", help="Models folder (best found, ARC2FACE_MODELS).", show_default=False)
]
DeviceFlag = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps (ARC2FACE_DEVICE).", show_default=False)
]
DtypeFlag = Annotated[
    str | None, typer.Option("--dtype", help="auto, fp32, fp16 (ARC2FACE_DTYPE).", show_default=False)
]
VramFlag = Annotated[
    str | None,
    typer.Option("--vram", help="resident, offload, sequential (ARC2FACE_VRAM).", show_default=False),
]
Budget = Annotated[
    float | None,
    typer.Option(help="At most so many GB of weights on the device (ARC2FACE_BUDGET_GB).", show_default=False),
]
Preload = Annotated[
    Flag,
    typer.Option(
        "--preload/--no-preload", help="Load all models at the start (off, ARC2FACE_PRELOAD).", show_default=False
    ),
]
Mcp = Annotated[
    Flag, typer.Option("--mcp/--no-mcp", help="Serve MCP clients too (on, ARC2FACE_MCP).", show_default=False)
]


def run(
    host: Host = None,
    port: Port = None,
    share: Share = None,
    auth: Auth = None,
    root_path: RootPath = None,
    models: ModelsFolder = None,
    device: DeviceFlag = None,
    dtype: DtypeFlag = None,
    vram: VramFlag = None,
    budget_gb: Budget = None,
    preload: Preload = None,
    mcp: Mcp = None,
) -> None:
    """Gathers the settings and serves until interrupted."""
    from app.settings import ServerSettings, parse_auth

    settings = ServerSettings.gather(
        host=host,
        port=port,
        share=share,
        auth=parse_auth(auth) if auth is not None else None,
        root_path=root_path,
        models=models,
        device=device,
        dtype=dtype,
        vram=vram,
        budget_bytes=int(budget_gb * 1e9) if budget_gb is not None else None,
        preload=preload,
        mcp=mcp,
    )
    from app.server import check_port, serve

    check_port(settings.host, settings.port)
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    console.say(f"Arc2Face Studio: http://{shown}:{settings.port}{settings.root_path}")
    serve(settings)
