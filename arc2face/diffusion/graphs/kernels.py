"""Triton kernels of the CUDA path: group norm (+ time embedding) (+ SiLU) on channels_last, and GEGLU.

torch's own group norm on CUDA wants plain layout and copies a channels_last tensor there and back; these read and write
it as it is, in three small passes, with float32 inside (Welford and Chan's parallel variance, so that a large mean
costs no digits). Import this module on CUDA only: it needs triton, and a GPU to run (or TRITON_INTERPRET=1).
"""

# triton is not installed where there is no card, and its kernels are not Python that a type checker can follow.
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUntypedFunctionDecorator=false, reportIndexIssue=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

CHUNK = 512
"""Pixels whose statistics one program gathers."""


@triton.jit
def gather_kernel(x, part, pixels, C: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr):
    """One (picture, chunk of pixels, block of channels): mean and sum of squared deviations per channel."""
    b, k, cb = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = cb * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    n = 0.0
    mean = tl.zeros((BLOCK,), tl.float32)
    squares = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, CHUNK, ROWS):
        p = k * CHUNK + first + tl.arange(0, ROWS)
        there = p < pixels
        v = tl.load(x + (b * pixels + p)[:, None] * C + c[None, :], mask=there[:, None] & inside[None, :], other=0.0)
        v = v.to(tl.float32)
        count = tl.sum(there.to(tl.float32), 0)
        new_mean = tl.sum(v, 0) / tl.maximum(count, 1.0)
        d = tl.where(there[:, None], v - new_mean[None, :], 0.0)
        new_squares = tl.sum(d * d, 0)
        total = n + count
        delta = new_mean - mean
        share = count / tl.maximum(total, 1.0)
        squares = squares + new_squares + delta * delta * (n * share)
        mean = mean + delta * share
        n = total
    out = part + ((b * tl.num_programs(1) + k) * C + c) * 2
    tl.store(out, mean, mask=inside)
    tl.store(out + 1, squares, mask=inside)


@triton.jit
def finish_kernel(
    part,
    time,
    time_stride,
    gamma,
    beta,
    scale,
    shift,
    pixels,
    eps,
    CHUNKS: tl.constexpr,
    C: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_TIME: tl.constexpr,
):
    """One (picture, group): afterwards x * scale[c] + shift[c] is the norm of x plus the time embedding."""
    b, g = tl.program_id(0), tl.program_id(1)
    j = tl.arange(0, PADDED)
    inside = j < WIDTH
    c = g * WIDTH + j
    n = 0.0
    mean = tl.zeros((PADDED,), tl.float32)
    squares = tl.zeros((PADDED,), tl.float32)
    for k in range(CHUNKS):
        at = part + ((b * CHUNKS + k) * C + c) * 2
        new_mean = tl.load(at, mask=inside, other=0.0)
        new_squares = tl.load(at + 1, mask=inside, other=0.0)
        count = tl.minimum(CHUNK, pixels - k * CHUNK).to(tl.float32)
        total = n + count
        delta = new_mean - mean
        share = count / total
        squares = squares + new_squares + delta * delta * (n * share)
        mean = mean + delta * share
        n = total
    t = tl.zeros((PADDED,), tl.float32)
    if HAS_TIME:
        t = tl.load(time + b * time_stride + c, mask=inside, other=0.0).to(tl.float32)
    mean = mean + t
    centre = tl.sum(tl.where(inside, mean, 0.0), 0) / WIDTH
    d = tl.where(inside, mean - centre, 0.0)
    variance = (tl.sum(tl.where(inside, squares, 0.0), 0) + tl.sum(d * d, 0) * n) / (WIDTH * n)
    a = tl.load(gamma + c, mask=inside, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    tl.store(scale + b * C + c, a, mask=inside)
    tl.store(
        shift + b * C + c, tl.load(beta + c, mask=inside, other=0.0).to(tl.float32) + (t - centre) * a, mask=inside
    )


@triton.jit
def apply_kernel(
    x, scale, shift, y, pixels, C: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, SILU: tl.constexpr
):
    """One (picture, block of pixels, block of channels); no division, so that loads stay 16 bytes wide."""
    b, k, cb = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = cb * BLOCK + tl.arange(0, BLOCK)
    inside = c < C
    p = k * ROWS + tl.arange(0, ROWS)
    there = (p < pixels)[:, None] & inside[None, :]
    a = tl.load(scale + b * C + c, mask=inside, other=0.0)
    s = tl.load(shift + b * C + c, mask=inside, other=0.0)
    at = (b * pixels + p)[:, None] * C + c[None, :]
    v = tl.load(x + at, mask=there, other=0.0).to(tl.float32) * a[None, :] + s[None, :]
    if SILU:
        v = v / (1.0 + tl.exp(-v))
    tl.store(y + at, v.to(y.dtype.element_ty), mask=there)


@triton.jit
def geglu_kernel(x, y, rows, D: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """Rows of (value, gate), D wide each: value times the exact GELU of the gate."""
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = (r < rows)[:, None] & (c < D)[None, :]
    at = r[:, None] * (2 * D) + c[None, :]
    value = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    gate = tl.load(x + at + D, mask=there, other=0.0).to(tl.float32)
    made = value * (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476)))
    tl.store(y + r[:, None] * D + c[None, :], made.to(y.dtype.element_ty), mask=there)


def group_norm(x: Tensor, layer: nn.GroupNorm, silu: bool, time: Tensor | None = None) -> Tensor:
    """silu(norm(x + time)) of `x` (B, C, h, w), in channels_last. `time`: (1 or B, C), None for none."""
    batch, channels, height, width = x.shape
    pixels, group = height * width, channels // layer.num_groups
    x = x.contiguous(memory_format=torch.channels_last)
    chunks, block = triton.cdiv(pixels, CHUNK), min(128, triton.next_power_of_2(channels))
    blocks, here = triton.cdiv(channels, block), x.device
    part = torch.empty((batch, chunks, channels, 2), dtype=torch.float32, device=here)
    scale, shift = torch.empty((2, batch, channels), dtype=torch.float32, device=here)
    made = torch.empty_like(x)
    stride = 0 if time is None or len(time) == 1 else time.stride(0)
    given: Any = x if time is None else time
    gather_kernel[(batch, chunks, blocks)](x, part, pixels, channels, block, 32, CHUNK)
    finish_kernel[(batch, layer.num_groups)](
        part, given, stride, layer.weight, layer.bias, scale, shift, pixels, layer.eps,
        chunks, channels, group, triton.next_power_of_2(group), CHUNK, time is not None,
    )  # fmt: skip
    apply_kernel[(batch, triton.cdiv(pixels, 16), blocks)](x, scale, shift, made, pixels, channels, block, 16, silu)
    return made


def geglu(x: Tensor) -> Tensor:
    """(..., 2 D) -> (..., D): the first half times GELU of the second."""
    x = x.contiguous()
    width = x.shape[-1] // 2
    made = x.new_empty((*x.shape[:-1], width))
    rows = made.numel() // width
    geglu_kernel[(triton.cdiv(rows, 8), triton.cdiv(width, 128))](x, made, rows, width, 128, 8)
    return made
