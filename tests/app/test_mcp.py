"""Tools for MCP clients: their schemas are valid, and each kind of them can be called."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_guard import ask, running

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason='pip install "gradio[mcp]"')


def test_tools_can_be_listed_and_called(models: Path, photos: dict[str, Path]) -> None:
    """K20: invalid schemas; `identify` failed with PointerToNowhere, `cancel` with AttributeError."""
    jsonschema = pytest.importorskip("jsonschema")
    with running(models, mcp=True) as (port, _):

        def call(method: str, **params: Any) -> Any:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            status, _, text = ask(port, "POST", "/gradio_api/mcp/", body, Accept="application/json, text/event-stream")
            assert status == 200, text
            answer = next(line for line in text.splitlines() if line.startswith("data: "))
            return json.loads(answer.removeprefix("data: "))["result"]

        def use(name: str, **arguments: Any) -> str:
            result = call("tools/call", name=name, arguments=arguments)
            assert not result.get("isError"), result
            return json.dumps(result["content"])

        tools = {tool["name"]: tool["inputSchema"] for tool in call("tools/list")["tools"]}
        for schema in tools.values():
            jsonschema.Draft202012Validator.check_schema(schema)
            jsonschema.Draft202012Validator(schema).is_valid({})
        assert {"identify", "generate_identity", "normal_map", "status", "cancel"} <= set(tools)
        photo = "data:image/png;base64," + base64.b64encode(photos["one"].read_bytes()).decode()
        assert "photos" in use("identify", photos=[photo])
        assert "image" in use("generate_identity", photos=[photo], num_images=1, steps=1, seed=3)
        assert "image" in use("normal_map", yaw=10, pitch=0, roll=0)
        assert "stopped" in use("cancel")
        assert "unet" in use("status")
