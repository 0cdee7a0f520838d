"""The device: choosing it, moving parts onto it, and what its failures mean.

Everything that allocates weights on the device goes through a `Placement`, so a test can put a counting one in its
place and prove on any machine what a policy keeps where.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from arc2face.diffusion import bf16
from arc2face.diffusion.graphs.driver import outdated_driver, unkept_promise
from arc2face.errors import DeviceError
from arc2face.settings import SWITCHES, VRAM_POLICIES, Switch, VramPolicy, one_of
from arc2face.types import Dtype, Runtime

log = logging.getLogger(__name__)
T = TypeVar("T")

DTYPES = {"fp16": torch.float16, "fp32": torch.float32, "bf16": torch.bfloat16}
HOST = "cpu"
WIDE_CHANNELS = 64
_FULL = re.compile(
    r"out of memory|DefaultCPUAllocator: (can't|not enough)|(CUBLAS|CUDNN|CUSOLVER)_STATUS_(INTERNAL_ERROR_)?\w*ALLOC",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"\b(CUDA|HIP) (driver |unknown )?error\b|\bCU(BLAS|DNN|SOLVER|FFT)_STATUS_(?!INVALID|BAD_PARAM|NOT_SUPPORTED)|"
    r"device-side assert|command buffer exited with error|kIOGPUCommandBuffer",
    re.IGNORECASE,
)


def pick_runtime(
    device: str = "auto",
    dtype: str = "auto",
    vram: VramPolicy = "resident",
    budget_bytes: int | None = None,
    fast_path: Switch = "auto",
    batching: Switch = "auto",
) -> Runtime:
    """Resolve `auto`: cuda with fp16, mps with fp16, else cpu with fp32.

    bf16 is never chosen unasked: it is ten times less accurate than fp16, and hundreds of times slower than fp32 on
    CPUs without units for it. Asked for, it is given on a CPU that a probe found quick (`arc2face.diffusion.bf16`) and
    refused elsewhere, as fp16 is on a CPU. Raises DeviceError.
    """
    chosen = _pick_device() if device == "auto" else device
    try:
        kind = torch.device(chosen).type
    except RuntimeError as error:
        raise DeviceError(f"Unknown device {device!r}; use auto, cpu, cuda, cuda:1 or mps.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        old = outdated_driver()
        raise DeviceError(
            f"CUDA cannot be used: {old}, or use --device cpu."
            if old
            else "No CUDA device is available to this Python; use --device cpu, or install a CUDA build of torch."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("No Apple GPU is available; use --device cpu.")
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"Device {device!r} is not supported; use cpu, cuda or mps.")
    if dtype == "auto":
        dtype = "fp32" if kind == "cpu" else "fp16"
    if dtype not in DTYPES:
        raise DeviceError(f"Unknown dtype {dtype!r}; use auto, fp16, fp32 or bf16.")
    if kind == "cpu" and dtype == "fp16":
        raise DeviceError("fp16 does not run well on a CPU; use --dtype fp32 (or auto).")
    if dtype == "bf16":
        _check_bf16(kind)
    if vram not in VRAM_POLICIES:
        raise DeviceError(f"Unknown vram policy {vram!r}; use {one_of(VRAM_POLICIES)}.")
    for what, switch in (("fast path", fast_path), ("batching", batching)):
        if switch not in SWITCHES:
            raise DeviceError(f"Unknown {what} {switch!r}; use {one_of(SWITCHES)}.")
    return Runtime(chosen, cast("Dtype", dtype), vram, budget_bytes, fast_path, batching)


def _check_bf16(kind: str) -> None:
    """Raises DeviceError where bf16 is no gain."""
    if kind != "cpu":
        raise DeviceError("bf16 is as fast as fp16 on this device and ten times less accurate; use --dtype fp16.")
    if not bf16.pays():
        raise DeviceError("This processor has no quick bf16: a picture would take many times longer. Use --dtype fp32.")


def torch_dtype(runtime: Runtime) -> torch.dtype:
    """The torch dtype of the diffusion models."""
    return DTYPES[runtime.dtype]


class DeviceFullError(DeviceError):
    """The device has no room for a part, even alone; whoever can do with less may catch it."""


class Placement:
    """Between the registry and torch: where modules and copies of weights lie.

    `device`: the device's name. On a CPU it equals `host`, and moving costs and changes nothing.
    """

    host = HOST

    def __init__(self, device: str) -> None:
        self.device = device

    def to_device(self, module: nn.Module) -> None:
        """Move a module onto the device, all of it or nothing: a half-moved one goes back before the error leaves."""
        try:
            self.transfer(module, self.device)
        except BaseException:
            self.to_host(module)
            raise

    def to_host(self, module: nn.Module) -> None:
        """Move a module back to host memory and give its device memory free."""
        self.transfer(module, self.host)
        self.empty_cache()

    def transfer(self, module: nn.Module, where: str) -> None:
        """The bare move, tensor by tensor; may fail half-way with the device out of memory."""
        module.to(where)

    def copy_of(self, tensor: Tensor, on_device: bool) -> Tensor:
        """A copy of a weight, on the device or in host memory (pinned there for CUDA, so that it comes back fast)."""
        if on_device:
            return tensor.detach().clone()
        pinned = self.device.startswith("cuda")
        return torch.empty_like(tensor, device=self.host, pin_memory=pinned, requires_grad=False).copy_(tensor.detach())

    def forget(self, copies: list[Tensor]) -> None:
        """Drop copies made by `copy_of`; the list is empty afterwards."""
        copies.clear()
        self.empty_cache()

    def empty_cache(self) -> None:
        """Give cached blocks back to the driver."""
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        elif self.device == "mps":
            torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA's own class, and what MPS, cuBLAS, cuDNN and the CPU's allocator say in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | DeviceFullError):
        return True
    return isinstance(error, RuntimeError) and _FULL.search(str(error)) is not None


def is_device_failure(error: BaseException) -> bool:
    """Whether the device itself failed (lost, a kernel died). A wrong dtype or device in our code is a bug instead."""
    if isinstance(error, torch.AcceleratorError):
        return True
    plain = type(error) is RuntimeError  # subclasses say something else, NotImplementedError for one
    return plain and _FAILED.search(str(error)) is not None


def device_error(error: RuntimeError, device: str) -> BaseException:
    """A failure of the device in plain words; a bug of ours stays as it is."""
    if is_out_of_memory(error):
        return DeviceError(f"{device} ran out of memory. Close other programs, or start with --vram sequential.")
    if not is_device_failure(error):
        return error
    failed = DeviceError(f"{device} stopped working. Restart the program; if it happens again, restart the computer.")
    failed.__cause__ = error
    return failed


def unless_full(action: Callable[[], T]) -> T | None:
    """What `action` returns, or None when memory ran out.

    The error is gone when this returns, and with it the frames that kept the failed attempt's tensors alive: what
    comes next may use the memory.
    """
    try:
        return action()
    except (RuntimeError, MemoryError, DeviceFullError) as error:
        if not is_out_of_memory(error):
            raise
        log.warning("out of memory: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
    gc.collect()
    return None


def with_fast_layout(module: nn.Module, device: str) -> nn.Module:
    """The module in channels_last where that was measured to pay, in place.

    On a CPU that is the VAE alone: its convolutions of few channels over whole pictures gain up to a fifth, the UNet
    and the ControlNet gain nothing and would be copied out of their mapped files. Networks that are narrow throughout
    keep NCHW everywhere, in which they round as the original code does.
    """
    channels = getattr(getattr(module, "config", None), "block_out_channels", None)
    wide = channels is not None and max(channels) >= WIDE_CHANNELS
    pays = wide and (not device.startswith("cpu") or isinstance(module, AutoencoderKL))
    return module.to(memory_format=torch.channels_last) if pays else module  # pyright: ignore[reportCallIssue]


def _pick_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if unkept := unkept_promise():
        log.error(unkept)
    return "mps" if torch.backends.mps.is_available() else "cpu"
