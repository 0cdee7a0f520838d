"""The figures of the starter suite, one function each. All are deterministic for a bundle and a device."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.engine import Engine
from arc2face.types import GenerationRequest, IdentityEmbedding
from arc2face_training.common.sharpness import sharpness_ratios
from arc2face_training.evaluate.judges import embedding
from arc2face_training.evaluate.subjects import Cast, Subject

U8 = NDArray[np.uint8]
Figures = dict[str, Any]
FAST_STEPS = 4
LEAST_COSINE = 0.05


class Bench:
    """An engine with its cast: subjects, their embeddings, and a short way to generate."""

    def __init__(self, engine: Engine, people: int, steps: int = 25) -> None:
        self.engine, self.steps = engine, steps
        self.cast = Cast(size=2 * engine.native_size)
        self.subjects: list[Subject] = self.cast.subjects(people)
        self.identities: list[IdentityEmbedding] = [engine.perception.embed(s.rgb_u8) for s in self.subjects]
        self.gallery = np.stack([identity.normalized for identity in self.identities])
        self.shown: dict[str, list[U8]] = {"input": [s.rgb_u8 for s in self.subjects]}
        self.scores: dict[str, float] = {}

    def picture(self, number: int, *, fast: bool = False, seed: int = 0, **conditions: Any) -> U8:
        """One generated picture of subject `number`."""
        request = GenerationRequest(
            identity=conditions.pop("identity", self.identities[number]),
            num_images=1,
            seed=1000 * number + seed,
            steps=FAST_STEPS if fast else self.steps,
            guidance_scale=1.0 if fast else 3.0,
            fast=fast,
            score=False,
            **conditions,
        )
        return self.engine.generate(request).images[0].rgb_u8

    def plain(self, count: int | None = None) -> list[U8]:
        """Plain pictures of the first `count` subjects (None: of all); each is drawn once, whoever asks first."""
        wanted = len(self.subjects) if count is None else count
        drawn = self.shown.get("plain", [])
        self.shown["plain"] = drawn + [self.picture(k) for k in range(len(drawn), wanted)]
        return self.shown["plain"][:wanted]

    def identity_score(self, pictures: list[U8]) -> Figures:
        """Cosines and rank-1 of pictures, picture k being made from subject k. No face found counts as cosine 0."""
        found = [embedding(self.engine, picture) for picture in pictures]
        rows = np.stack([np.zeros(512, np.float32) if row is None else row for row in found])
        cosines = rows @ self.gallery.T
        own = np.diag(cosines[:, : len(rows)])
        others = cosines[:, : len(rows)][~np.eye(len(rows), dtype=bool)] if len(rows) > 1 else np.zeros(1)
        hits = (cosines.argmax(1) == np.arange(len(rows))) & np.array([row is not None for row in found])
        return {
            "rank1": float(hits.mean()),
            "gallery": len(self.gallery),
            "cosine_own": float(own.mean()),
            "cosine_others": float(others.mean()),
            "margin": float(own.mean() - others.mean()),
            "face_found": float(np.mean([row is not None for row in found])),
        }

    def share_of_plain(self, score: float) -> float | str:
        """A mode's identity cosine relative to plain generation's, where that is above chance."""
        plain = self.scores.get("plain", 0.0)
        return score / plain if plain > LEAST_COSINE else "not defined: plain generation does not keep the identity"


def identity(bench: Bench) -> Figures:
    """Plain generation: is it the person, and do seeds differ?"""
    figures = bench.identity_score(bench.plain())
    bench.scores["plain"] = figures["cosine_own"]
    seeds = np.stack([bench.picture(0, seed=s) for s in range(4)]).astype(np.float64)
    pairs = [np.abs(seeds[i] - seeds[j]).mean() for i in range(4) for j in range(i)]
    corner = seeds[:, : seeds.shape[1] // 5, : seeds.shape[2] // 5].mean((1, 2))
    figures["seed_difference"] = float(np.mean(pairs))
    figures["background_difference"] = float(corner.std(0).mean())
    return figures


def sharpness(bench: Bench) -> Figures:
    """Plain pictures against real renders of the same people at the same size; 1 is as sharp."""
    plain = bench.plain()
    size = bench.engine.native_size
    real = [bench.cast.render(s.person, s.state, size).rgb_u8 for s in bench.subjects[: len(plain)]]
    return dict(sharpness_ratios(plain, [picture for picture in real if picture is not None]))


def decoder(bench: Bench, count: int) -> Figures:
    """Real renders through the VAE and back: PSNR in dB, and how sharp they come out."""
    import torch

    from arc2face_training.diffusion.parts import Bundle

    vae = Bundle(bench.engine.models.root).vae()
    size = bench.engine.native_size
    renders = [bench.cast.render(s.person, s.state, size).rgb_u8 for s in bench.subjects[:count]]
    real = np.stack([picture for picture in renders if picture is not None])
    with torch.no_grad():
        pixels = torch.from_numpy(real).permute(0, 3, 1, 2).float() / 127.5 - 1
        again = torch.cat([vae.decode(vae.encode(one[None]).latent_dist.mode()).sample for one in pixels])
    made = ((again.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    error = ((made.astype(np.float64) - real) ** 2).mean((1, 2, 3))
    bench.shown["decoded"] = list(made)
    return {"psnr_db": float((10 * np.log10(255**2 / error)).mean()), **sharpness_ratios(made, real)}


def random_results(bench: Bench, count: int) -> list[U8]:
    """Fast pictures of all people in turn, each of another seed: what a person looks at to count distorted faces."""
    return [bench.picture(k % len(bench.subjects), fast=True, seed=50 + k // len(bench.subjects)) for k in range(count)]


def fast_mode(bench: Bench) -> Figures:
    """Four steps with the LCM-LoRA."""
    pictures = [bench.picture(k, fast=True) for k in range(len(bench.subjects))]
    bench.shown["fast"] = pictures
    figures = bench.identity_score(pictures)
    figures["share_of_plain"] = bench.share_of_plain(figures["cosine_own"])
    return figures


def recogniser(bench: Bench, people: int) -> Figures:
    """Verification of unseen people from two random renders each, at the best threshold."""
    first, second = [], []
    for k in range(people):
        person = bench.cast.world.identity(bench.cast.first + 400_000 + 2 * k)
        views = [bench.cast.render(person, bench.cast.moment(11_000 + 2 * k + v)).rgb_u8 for v in range(2)]
        rows = [embedding(bench.engine, view) for view in views if view is not None]
        if all(row is not None for row in rows):
            first.append(rows[0])
            second.append(rows[1])
    cosines = np.stack(first) @ np.stack(second).T
    same, other = np.diag(cosines), cosines[~np.eye(len(cosines), dtype=bool)]
    accuracy = max(((same > t).mean() + (other <= t).mean()) / 2 for t in np.linspace(-0.5, 1, 301))
    figures: Figures = {"verification_accuracy": float(accuracy), "cosine_same": float(same.mean())}
    figures["cosine_other"] = float(other.mean())
    figures["rank1"] = float((cosines.argmax(1) == np.arange(len(cosines))).mean())
    return figures


def detector(bench: Bench, count: int) -> Figures:
    """Unseen people from 48 pixels to full frame, turned up to 30 degrees, on a 384-pixel canvas."""
    import cv2

    found = 0
    for k in range(count):
        rng = np.random.default_rng([k, 13])
        drawn = bench.cast.render(bench.cast.world.identity(bench.cast.first + 600_000 + 2 * k), bench.cast.moment(k))
        assert drawn.rgb_u8 is not None
        face = float(np.exp(rng.uniform(np.log(48), np.log(300))))
        scale = face / float(max(drawn.box[2] - drawn.box[0], drawn.box[3] - drawn.box[1]))
        middle = (drawn.box[:2] + drawn.box[2:]) / 2
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), float(rng.uniform(-30, 30)), scale)
        centre = rng.uniform(face / 2, 384 - face / 2, 2)
        matrix[:, 2] += centre - middle
        canvas = cv2.warpAffine(drawn.rgb_u8, matrix, (384, 384), borderMode=cv2.BORDER_REPLICATE)
        faces = bench.engine.faces.detect(np.asarray(canvas, np.uint8))
        found += any(_hits(face_found.box, centre, face) for face_found in faces)
    return {"recall": found / count, "pictures": count}


def speed(bench: Bench) -> Figures:
    """Seconds for four pictures, and resident memory. The models are already loaded."""
    import psutil

    figures: Figures = {}
    for name, fast in (("fast_4_steps", True), ("plain_25_steps", False)):
        request = GenerationRequest(
            identity=bench.identities[0], num_images=4, steps=FAST_STEPS if fast else 25, fast=fast,
            guidance_scale=1.0 if fast else 3.0, score=False,
        )  # fmt: skip
        started = time.perf_counter()
        bench.engine.generate(request)
        figures[f"{name}_seconds"] = time.perf_counter() - started
    figures["resident_memory_mb"] = psutil.Process().memory_info().rss / 2**20
    return figures


def _hits(box: NDArray[Any], centre: NDArray[Any], face: float) -> bool:
    middle, side = (box[:2] + box[2:]) / 2, max(box[2] - box[0], box[3] - box[1])
    return bool(np.abs(middle - centre).max() < face / 3 and face / 2.2 < side < 2.2 * face)
