"""`arc2face app`: the web page.

Each setting is one option with one environment variable; a flag wins over the variable. `read_settings` gives the same
to whoever starts the server without the command line (`space.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from arc2face_app.cli import console
from arc2face_app.settings import ServerSettings, parse_auth, parse_hosts

HELP = "Start the web page. Every flag has an environment variable; a flag wins."
USUAL = ServerSettings()

Host = Annotated[str, typer.Option(help="Address to listen on.", envvar="ARC2FACE_HOST")]
Port = Annotated[int, typer.Option(help="Port.", envvar="ARC2FACE_PORT")]
Share = Annotated[bool, typer.Option("--share/--no-share", help="Public link; needs --auth.", envvar="ARC2FACE_SHARE")]
Auth = Annotated[
    str | None,
    typer.Option(
        help="Login, user:password. Prefer the variable: flags are visible to other users.",
        envvar="ARC2FACE_AUTH",
        metavar="USER:PASSWORD",
    ),
]
RootPath = Annotated[str, typer.Option(help="Path prefix behind a proxy.", envvar="ARC2FACE_ROOT_PATH")]
ModelsFolder = Annotated[
    Path | None, typer.Option("--models", help="Models folder; the best found.", envvar="ARC2FACE_MODELS")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", envvar="ARC2FACE_DEVICE")]
Dtype = Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 (some CPUs).", envvar="ARC2FACE_DTYPE")]
Vram = Annotated[str, typer.Option(help="resident, offload, sequential.", envvar="ARC2FACE_VRAM")]
Budget = Annotated[
    float | None, typer.Option(help="At most so many GB of weights on the device.", envvar="ARC2FACE_BUDGET_GB")
]
FastPath = Annotated[
    str, typer.Option(help="Captured steps on CUDA: auto, on (insist), off.", envvar="ARC2FACE_FAST_PATH")
]
Batching = Annotated[
    str,
    typer.Option(
        help="Run waiting requests of one kind together: auto (on CUDA), on, off.", envvar="ARC2FACE_BATCHING"
    ),
]
Preload = Annotated[
    bool,
    typer.Option("--preload/--no-preload", help="Load all models at the start.", envvar="ARC2FACE_PRELOAD"),
]
Mcp = Annotated[bool, typer.Option("--mcp/--no-mcp", help="Serve MCP clients too.", envvar="ARC2FACE_MCP")]
Hosts = Annotated[
    str,
    typer.Option(
        help="Names of this server besides --host, such as a proxy's; comma-separated, * for any.",
        envvar="ARC2FACE_HOSTS",
        metavar="NAMES",
    ),
]

OutputsFolder = Annotated[
    Path | None,
    typer.Option(
        "--outputs",
        help="Keep everything made on the page in this folder too; only for a page of this machine alone.",
        envvar="ARC2FACE_OUTPUTS",
    ),
]


Studio = Annotated[
    str, typer.Option(help="Draw data sets on the page: auto (not on shared pages), on, off.", envvar="ARC2FACE_STUDIO")
]


def settings(
    host: Host = USUAL.host,
    port: Port = USUAL.port,
    share: Share = USUAL.share,
    auth: Auth = None,
    root_path: RootPath = USUAL.root_path,
    models: ModelsFolder = None,
    device: Device = USUAL.device,
    dtype: Dtype = USUAL.dtype,
    vram: Vram = USUAL.vram,
    budget_gb: Budget = None,
    fast_path: FastPath = USUAL.fast_path,
    batching: Batching = USUAL.batching,
    preload: Preload = USUAL.preload,
    mcp: Mcp = USUAL.mcp,
    hosts: Hosts = "",
    outputs: OutputsFolder = None,
    studio: Studio = USUAL.studio,
) -> ServerSettings:
    """The settings, checked. Raises SettingsError."""
    return ServerSettings(
        host=host,
        port=port,
        share=share,
        auth=parse_auth(auth) if auth else None,
        root_path=root_path,
        models=models,
        device=device,
        dtype=dtype,
        vram=vram,  # type: ignore[arg-type]
        budget_bytes=int(budget_gb * 1e9) if budget_gb is not None else None,
        fast_path=fast_path,  # type: ignore[arg-type]
        batching=batching,  # type: ignore[arg-type]
        preload=preload,
        mcp=mcp,
        hosts=parse_hosts(hosts),
        outputs=outputs,
        studio=studio,  # type: ignore[arg-type]
    )


def read_settings(words: Sequence[str] = ()) -> ServerSettings:
    """The settings from flags and the environment, without starting anything. Raises SettingsError."""
    app = typer.Typer(add_completion=False)
    app.command()(settings)
    return typer.main.get_command(app).main(list(words), prog_name="arc2face app", standalone_mode=False)


@functools.wraps(settings)
def run(**flags: Any) -> None:
    """Gathers the settings and serves until interrupted."""
    from arc2face_app.server import check_port, serve

    chosen = settings(**flags)
    check_port(chosen.host, chosen.port)
    shown = "127.0.0.1" if chosen.host in ("0.0.0.0", "::") else chosen.host
    if chosen.outputs is not None:
        console.say(f"Everything made is kept in {chosen.outputs}")
    console.say("Starting; the address appears here once the page answers.")
    address = f"http://{shown}:{chosen.port}{chosen.root_path}"
    # Launchers and people open what is printed at once, so it is printed when it can be opened.
    serve(chosen, listening=lambda: console.say(f"Arc2Face Studio: {address}"))
