"""Arc2Face Studio for ComfyUI: new pictures of one person, with the pose, expression and look that you want.

Copy or link this folder into `ComfyUI/custom_nodes/`. The work is done by the `arc2face` package; the nodes turn
ComfyUI's pictures (IMAGE: float32 RGB, 0 to 1, batch x height x width x 3) into its requests and back.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes import NODES


class Arc2FaceExtension(ComfyExtension):
    """What ComfyUI asks for the nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All of them."""
        return list(NODES)


async def comfy_entrypoint() -> Arc2FaceExtension:
    """Called by ComfyUI when it loads the pack."""
    return Arc2FaceExtension()
