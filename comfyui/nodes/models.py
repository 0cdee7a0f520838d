"""The models: one engine per folder and device, beside ComfyUI's own memory management."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .common import CATEGORY, Engine

if TYPE_CHECKING:
    from arc2face.engine import Engine as LibraryEngine

INSTALL = "Install it into ComfyUI's own Python: pip install arc2face-studio"
_engines: dict[tuple[str, str, str], LibraryEngine] = {}
_lock = threading.Lock()


class Models(io.ComfyNode):
    """Opens the models. They load when they are first used."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Folder, and what stays on the card."""
        return io.Schema(
            node_id="Arc2FaceModels",
            display_name="Arc2Face models",
            category=CATEGORY,
            description="Opens a folder of Arc2Face models. Empty: the best one found, or the small starter models.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="Folder of the models, as `arc2face download` fills it; empty finds it.",
                ),
                io.Combo.Input(
                    "memory",
                    options=["auto", "resident", "offload", "sequential"],
                    tooltip="auto follows ComfyUI's own memory mode; resident keeps everything on the card; sequential "
                    "needs the least.",
                ),
            ],
            outputs=[Engine.Output("models")],
        )

    @classmethod
    def execute(cls, folder: str, memory: str) -> io.NodeOutput:
        """Opens them, or hands out those that are open."""
        import comfy.model_management as management

        device = str(management.get_torch_device())
        return io.NodeOutput(opened(folder.strip(), device, policy(memory, management)))


def policy(memory: str, management: Any) -> str:
    """What stays on the card, from ComfyUI's own mode where that is left to it."""
    if memory != "auto":
        return memory
    mode = getattr(management.vram_state, "name", "NORMAL_VRAM")
    return {"HIGH_VRAM": "resident", "DISABLED": "resident", "SHARED": "resident", "NORMAL_VRAM": "offload"}.get(
        mode, "sequential"
    )


def opened(folder: str, device: str, vram: str) -> LibraryEngine:
    """The engine of this folder, device and memory policy. Another policy for the same folder closes the old one."""
    key = (folder, device, vram)
    with _lock:
        if key not in _engines:
            engine_class = library()
            for other in [one for one in _engines if one[:2] == key[:2]]:
                _engines.pop(other).close()
            _engines[key] = engine_class.open(folder or None, device=device, vram=vram)
        return _engines[key]


def library() -> type[LibraryEngine]:
    """The library's engine. Raises RuntimeError, with the one thing to do, where it cannot be imported."""
    try:
        return importlib.import_module("arc2face.engine").Engine
    except ModuleNotFoundError as error:
        if error.name == "arc2face":
            raise RuntimeError(f"The arc2face package is missing. {INSTALL}") from error
        raise RuntimeError(f"The package {error.name} is missing. {INSTALL}") from error
    except (ImportError, RuntimeError, OSError) as error:
        raise RuntimeError(broken(error)) from error


def broken(error: Exception) -> str:
    """What is wrong with a companion of torch, else the error itself."""
    for name in ("torchvision", "torchaudio"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except Exception as reason:
            return (
                f"The installed {name} does not fit the installed torch ({type(reason).__name__}: {reason}). Install "
                f"the {name} of the same release and build (CUDA or CPU) as torch, or remove it."
            )
    return f"The arc2face package cannot be imported: {error}"


def make_room(engine: LibraryEngine) -> None:
    """Ask ComfyUI to clear as much of the card as the files of these models take."""
    import comfy.model_management as management

    device = management.get_torch_device()
    if device.type != "cpu":
        wanted = sum(row.bytes for row in engine.status() if row.state == "on disk")
        management.free_memory(int(1.2 * wanted) + (1 << 30), device)


def hand_back(engine: LibraryEngine) -> None:
    """Unless everything is to stay, leave the card to ComfyUI's other models."""
    if engine.runtime.vram != "resident" and engine.runtime.device != "cpu":
        engine.worker.call(engine.registry.release)
