"""Samplers as tables: one row of numbers per step, made on the host, read on the device by a step counter.

Every sampler here is linear in what it has seen, so one formula with another row serves them all, and a captured step
need not know which one runs:

    m    = p x + q e                                       the clean estimate; e is the network's output for i x
    c    = a_x x + a_last last + a_m m + a_m1 m1 + a_m2 m2    x itself, except for UniPC's corrector
    x'   = r c + s m + t m1 + u z                          z: standard normal, for LCM alone
    last' = c,  m1' = m,  m2' = m1

Sources: DPM-Solver++ (2M) arXiv 2211.01095, UniPC arXiv 2302.04867 (B_h = e^h - 1), EDM's Euler arXiv 2206.00364,
DDIM arXiv 2010.02502 (eta 0), LCM arXiv 2310.04378. The numbers come from the diffusers sampler's own schedule, and
every table is checked against that sampler before it is used, so a config with other switches is noticed, not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arc2face.diffusion.float32 import float32_defaults
from arc2face.diffusion.graphs.proof import follows
from arc2face.diffusion.schedulers import make_scheduler

COLUMNS = ("i", "p", "q", "a_x", "a_last", "a_m", "a_m1", "a_m2", "r", "s", "t", "u")
"""Meaning of a row's numbers, in order (see the module)."""
Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """One sampler with its number of steps.

    `timesteps`: (steps,) as the sampler gives them, on the host. `rows`: (steps, 12) float64, columns as COLUMNS.
    `start`: the first latents are standard normal noise times this.
    """

    timesteps: Tensor
    rows: Tensor
    start: float

    @property
    def draws(self) -> bool:
        """Whether any step adds noise."""
        return bool((self.rows[:, COLUMNS.index("u")] != 0).any())


@dataclass
class History:
    """What a sampler remembers, (n, C, h, w) float32 each; all zeros before the first step, except the latents."""

    latents: Tensor
    last: Tensor
    m1: Tensor
    m2: Tensor

    @classmethod
    def zeros(cls, shape: tuple[int, ...], device: torch.device) -> History:
        """An empty one."""
        return cls(*(torch.zeros(shape, dtype=torch.float32, device=device) for _ in range(4)))

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it."""
        return self.latents, self.last, self.m1, self.m2


def advance(history: History, output: Tensor, row: Tensor, noise: Tensor | None) -> Tensor:
    """One step, in place. `output`: (n, C, h, w) the guided network output, float32. `row`: (12,) on the device.

    Returns the clean estimate (n, C, h, w). No number is read by the host.
    """
    _, p, q, a_x, a_last, a_m, a_m1, a_m2, r, s, t, u = row.unbind(0)
    x, m1 = history.latents, history.m1
    m = p * x + q * output
    c = a_x * x + a_last * history.last + a_m * m + a_m1 * m1 + a_m2 * history.m2
    after = r * c + s * m + t * m1
    if noise is not None:
        after = after + u * noise
    history.last.copy_(c)
    history.m2.copy_(m1)
    history.m1.copy_(m)
    history.latents.copy_(after)
    return history.m1


def sampler_table(name: str, config: Mapping[str, Any], steps: int) -> SamplerTable | None:
    """The table of a sampler (a name of SCHEDULERS), None where this config needs diffusers' own steps.

    `config`: raw scheduler_config.json. Raises what `make_scheduler` raises.
    """
    return _table(name, json.dumps(dict(config), sort_keys=True, default=str), steps)


@lru_cache(maxsize=64)
def _table(name: str, config: str, steps: int) -> SamplerTable | None:
    settings = json.loads(config)
    with float32_defaults(), torch.no_grad():
        scheduler = make_scheduler(name, settings, steps, "cpu")
        build = _BUILDERS.get(name)
        if build is None or not _covered(scheduler):
            return None
        with np.errstate(all="ignore"):  # what overflows is refused below
            rows = torch.from_numpy(build(scheduler))
        table = SamplerTable(scheduler.timesteps.clone(), rows, float(scheduler.init_noise_sigma))
        sound = bool(torch.isfinite(rows).all()) and follows(table.rows, table.start, scheduler)
    return table if sound else None


def _covered(scheduler: Any) -> bool:
    """Switches that a run on numbers alone could not tell: clipping, and noise in samplers that draw none here."""
    settings = scheduler.config
    clips = settings.get("thresholding") or settings.get("clip_sample")
    return not clips and not str(settings.get("algorithm_type", "")).startswith("sde")


def _estimate(prediction: str, alpha: Rows, sigma: Rows) -> tuple[Rows, Rows]:
    """The numbers p and q for what the network predicts, at x = alpha x0 + sigma noise."""
    if prediction == "sample":
        return np.zeros_like(alpha), np.ones_like(alpha)
    if prediction == "v_prediction":
        return alpha, -sigma
    return 1 / alpha, -sigma / alpha


def _blank(scheduler: Any) -> Rows:
    rows = np.zeros((len(scheduler.timesteps), len(COLUMNS)))
    rows[:, 0] = rows[:, 3] = 1.0  # i and a_x
    return rows


def _levels(scheduler: Any) -> tuple[Rows, Rows, Rows]:
    """alpha, sigma and lambda = log(alpha / sigma) at every step and after the last one."""
    ratio: Rows = scheduler.sigmas.double().numpy()
    alpha = 1 / np.sqrt(1 + ratio**2)
    return alpha, ratio * alpha, -np.log(np.maximum(ratio, 1e-300))


def _dpm(scheduler: Any) -> Rows:
    alpha, sigma, level = _levels(scheduler)
    rows, settings = _blank(scheduler), scheduler.config
    count = len(rows)
    rows[:, 1], rows[:, 2] = _estimate(settings.prediction_type, alpha[:-1], sigma[:-1])
    ends_low = (
        settings.euler_at_final or (settings.lower_order_final and count < 15) or settings.final_sigmas_type == "zero"
    )
    for k in range(count):
        h = level[k + 1] - level[k]
        grown = -np.expm1(-h) * alpha[k + 1]
        rows[k, 8] = sigma[k + 1] / sigma[k]
        rows[k, 9] = grown
        if settings.solver_order > 1 and k > 0 and not (k == count - 1 and ends_low):
            half = 0.5 * grown * h / (level[k] - level[k - 1])
            rows[k, 9], rows[k, 10] = grown + half, -half
    return rows


def _unipc(scheduler: Any) -> Rows:
    alpha, sigma, level = _levels(scheduler)
    rows, settings = _blank(scheduler), scheduler.config
    count = len(rows)
    rows[:, 1], rows[:, 2] = _estimate(settings.prediction_type, alpha[:-1], sigma[:-1])
    orders = [min(2, k + 1, count - k if settings.lower_order_final else 2) for k in range(count)]
    for k in range(count):
        grown = -np.expm1(level[k] - level[k + 1]) * alpha[k + 1]
        rows[k, 8], rows[k, 9] = sigma[k + 1] / sigma[k], grown
        if orders[k] == 2:
            half = 0.5 * grown * (level[k + 1] - level[k]) / (level[k] - level[k - 1])
            rows[k, 9], rows[k, 10] = grown + half, -half
        if k > 0:
            rows[k, 3:8] = _corrector(alpha, sigma, level, k, orders[k - 1])
    return rows


def _corrector(alpha: Rows, sigma: Rows, level: Rows, k: int, order: int) -> list[float]:
    """a_x, a_last, a_m, a_m1, a_m2: step k - 1 once more, now that its result is known (UniC)."""
    h = level[k] - level[k - 1]
    grown = -np.expm1(-h) * alpha[k]
    keep = sigma[k] / sigma[k - 1]
    if order == 1:
        return [0.0, keep, 0.5 * grown, 0.5 * grown, 0.0]
    far = (level[k - 2] - level[k - 1]) / h
    first = np.expm1(-h) / -h - 1
    second = first / -h - 0.5
    matrix = np.array([[1.0, 1.0], [far, 1.0]])
    old, new = np.linalg.solve(matrix, np.array([first, 2 * second]) / np.expm1(-h))
    return [0.0, keep, grown * new, grown * (1 - new - old / far), grown * old / far]


def _euler(scheduler: Any) -> Rows:
    ratio: Rows = scheduler.sigmas.double().numpy()
    now, rows, prediction = ratio[:-1], _blank(scheduler), scheduler.config.prediction_type
    size = np.sqrt(now**2 + 1)
    rows[:, 0] = 1 / size
    rows[:, 1], rows[:, 2] = 1.0, -now
    if prediction == "v_prediction":
        rows[:, 1], rows[:, 2] = 1 / size**2, -now / size
    elif prediction in ("sample", "original_sample"):
        rows[:, 1], rows[:, 2] = 0.0, 1.0
    rows[:, 8], rows[:, 9] = ratio[1:] / now, 1 - ratio[1:] / now
    return rows


def _at(scheduler: Any, timesteps: list[int]) -> Rows:
    """The cumulative alpha of timesteps; below 0 lies the clean picture."""
    known = scheduler.alphas_cumprod.double().numpy()
    return np.array([known[t] if t >= 0 else float(scheduler.final_alpha_cumprod) for t in timesteps])


def _ddim(scheduler: Any) -> Rows:
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    times = [int(t) for t in scheduler.timesteps]
    now, then, rows = _at(scheduler, times), _at(scheduler, [t - stride for t in times]), _blank(scheduler)
    rows[:, 1], rows[:, 2] = _estimate(scheduler.config.prediction_type, np.sqrt(now), np.sqrt(1 - now))
    rows[:, 8] = np.sqrt((1 - then) / (1 - now))
    rows[:, 9] = np.sqrt(then) - np.sqrt(now) * rows[:, 8]
    return rows


def _lcm(scheduler: Any) -> Rows:
    times = [int(t) for t in scheduler.timesteps]
    now, rows = _at(scheduler, times), _blank(scheduler)
    then = np.append(now[1:], 1.0)
    rows[:, 1], rows[:, 2] = _estimate(scheduler.config.prediction_type, np.sqrt(now), np.sqrt(1 - now))
    kept, made = zip(*(scheduler.get_scalings_for_boundary_condition_discrete(t) for t in times), strict=True)
    rows[:, 8], rows[:, 9] = np.sqrt(then) * np.array(kept), np.sqrt(then) * np.array(made)
    rows[:, 11] = np.sqrt(1 - then)
    return rows


_BUILDERS: Mapping[str, Callable[[Any], Rows]] = {
    "dpm++": _dpm,
    "dpm++-karras": _dpm,
    "unipc": _unipc,
    "euler": _euler,
    "ddim": _ddim,
    "lcm": _lcm,
}
