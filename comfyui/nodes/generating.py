"""The pictures."""

from __future__ import annotations

import json
from typing import Any

from comfy_api.latest import io

from .common import CATEGORY, Engine, Expression, Identity, Negative, Pose, Reference, score, to_images, watcher
from .models import hand_back, make_room

MOST = 8
SAMPLERS = ["dpm++", "dpm++-karras", "unipc", "euler", "ddim"]


class Generate(io.ComfyNode):
    """New pictures of one person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Who is needed; pose, expression, look and whom to avoid may be left out."""
        return io.Schema(
            node_id="Arc2FaceGenerate",
            display_name="Arc2Face pictures",
            category=CATEGORY,
            description="New pictures of one person. Fast mode takes four steps instead of 25.",
            inputs=[
                Engine.Input("models"),
                Identity.Input("identity"),
                io.Int.Input("count", default=4, min=1, max=MOST),
                io.Int.Input("seed", default=0, min=0, max=2**32 - 1 - MOST, control_after_generate=True),
                io.Boolean.Input("fast", default=False, tooltip="LCM: a few steps."),
                io.Int.Input("steps", default=0, min=0, max=100, tooltip="0 takes the usual number."),
                io.Float.Input(
                    "guidance", default=0.0, min=0.0, max=10.0, step=0.1, tooltip="0 takes the usual value."
                ),
                io.Combo.Input("scheduler", options=SAMPLERS, tooltip="Unused in fast mode."),
                io.Int.Input("size", default=0, min=0, max=2048, step=8, tooltip="0 takes the models' own size."),
                io.Int.Input(
                    "keep_best", default=0, min=0, max=MOST, tooltip="Keep only the k most similar; 0 keeps all."
                ),
                Pose.Input("pose", optional=True),
                Expression.Input("expression", optional=True),
                Reference.Input("look", optional=True),
                Negative.Input("not_like", optional=True),
            ],
            outputs=[
                io.Image.Output("pictures"),
                io.Float.Output("similarity", tooltip="Best cosine to the person; NaN when no face was found."),
                io.String.Output("facts", tooltip="JSON: seed and similarity of each picture, and the recipe."),
            ],
        )

    @classmethod
    def execute(
        cls,
        models: Any,
        identity: Any,
        count: int,
        seed: int,
        fast: bool,
        steps: int,
        guidance: float,
        scheduler: str,
        size: int,
        keep_best: int,
        pose: Any = None,
        expression: Any = None,
        look: Any = None,
        not_like: Any = None,
    ) -> io.NodeOutput:
        """Numbers out of range raise before anything runs; ComfyUI's Stop ends the run within a step."""
        from arc2face import GenerationRequest

        request = GenerationRequest(
            identity=identity,
            num_images=count,
            seed=seed,
            fast=fast,
            steps=steps or None,
            guidance_scale=guidance or None,
            scheduler=scheduler,
            height=size or None,
            width=size or None,
            keep_best=min(keep_best, count),
            pose=pose,
            expression=expression,
            reference=look,
            negative=not_like,
        )
        make_room(models)
        try:
            result = models.generate(request, watcher())
        finally:
            hand_back(models)
        rows = [{"seed": one.seed, "similarity": one.similarity} for one in result.images]
        best = max((score(one.similarity) for one in result.images), key=lambda value: (value == value, value))
        facts = json.dumps({"pictures": rows, "recipe": dict(result.recipe)})
        return io.NodeOutput(to_images([one.rgb_u8 for one in result.images]), best, facts)
