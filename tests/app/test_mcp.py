"""Tools for MCP clients: schemas that are valid, JSON in the answers, and the library's refusals."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arc2face.pictures.recipes import read_recipe
from tests.app.test_guard import ask, running

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason='pip install "gradio[mcp]"'),
]
Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def call(models: Path) -> Iterator[Call]:
    """Sends one request and gives its `result`."""
    with running(models, mcp=True) as (port, _):

        def send(method: str, **params: Any) -> dict[str, Any]:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            status, _, text = ask(port, "POST", "/gradio_api/mcp/", body, Accept="application/json, text/event-stream")
            assert status == 200, text
            lines = [line for line in text.splitlines() if line.startswith("data: ")]
            return json.loads(lines[0].removeprefix("data: ") if lines else text)

        yield send


@pytest.fixture
def use(call: Call) -> Call:
    """Calls a tool that succeeds; gives its JSON."""

    def tool(name: str, **arguments: Any) -> dict[str, Any]:
        result = call("tools/call", name=name, arguments=arguments)["result"]
        assert not result.get("isError"), result["content"]
        answer = json.loads(result["content"][0]["text"])
        assert result["structuredContent"] == answer
        return {**answer, "images": [part for part in result["content"] if part["type"] == "image"]}

    return tool


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Calls a tool that refuses; gives its words."""

    def tool(name: str, **arguments: Any) -> str:
        answer = call("tools/call", name=name, arguments=arguments)
        if "error" in answer:
            return answer["error"]["message"]
        assert answer["result"]["isError"], answer
        return answer["result"]["content"][0]["text"]

    return tool


@pytest.fixture
def photo(photos: dict[str, Path]) -> str:
    return as_uri(photos["one"])


def as_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def test_every_tool_has_a_valid_schema(call: Call) -> None:
    """F12, K20: schemas of the 2020-12 draft, a text for every parameter, nothing required, usual values that fit."""
    jsonschema = pytest.importorskip("jsonschema")
    tools = {tool["name"]: tool for tool in call("tools/list")["result"]["tools"]}
    wanted = {"generate_identity", "generate_pose", "generate_expression", "turntable", "expression_strip", "identify"}
    looking = {"find_faces", "compare", "read_recipe", "read_pose", "read_expression", "edit_expression", "presets"}
    assert wanted | looking | {"normal_map", "draw_person", "status", "cancel"} <= set(tools)
    for name, tool in tools.items():
        schema = tool["inputSchema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "$ref" not in json.dumps(schema), name
        assert not schema.get("required"), name
        assert len(tool["description"]) > 40, name
        usual = {key: part["default"] for key, part in schema["properties"].items() if "default" in part}
        jsonschema.validate(usual, schema)
        assert all(part["description"] for part in schema["properties"].values()), name
    numbers = tools["generate_identity"]["inputSchema"]["properties"]
    assert numbers["num_images"]["type"] == "integer"
    assert (numbers["num_images"]["minimum"], numbers["num_images"]["maximum"]) == (1, 8)
    assert "unipc" in numbers["scheduler"]["enum"]


def test_answers_are_json_and_files_can_be_passed_on(use: Call, photo: str) -> None:
    """F12, F14: one file without a list, an identity file alone, JSON and not Python, no paths but in addresses."""
    saved = use("identify", photos=photo)
    assert saved["photos"] == 1
    made = use("generate_identity", identity_file=saved["files"][0]["url"], num_images=1, steps=1, seed=3, fast=None)
    assert made["pictures"][0]["seed"] == 3
    assert len(made["images"]) == 1
    assert read_recipe(base64.b64decode(made["images"][0]["data"]))["settings"]["seed"] == 3
    picture = made["files"][0]
    assert set(picture) == {"name", "url"}
    assert use("read_recipe", picture=picture["url"])["settings"]["seed"] == 3
    assert use("compare", photo=photo, photos=[photo])["similarity"] == pytest.approx(1, abs=1e-3)
    assert use("presets")["Mouth open"]["jaw"]["open"] == pytest.approx(0.3)
    assert use("edit_expression", preset="Yawn", left_eyelid=0.5)["eyelids"]["left"] == pytest.approx(0.5)
    assert len(use("normal_map", yaw=10)["images"]) == 1
    status = use("status")
    assert status["ready"] is True
    assert {part["source"].count("/") for part in status["components"]} == {0}


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("generate_identity", {}, "Add a photo of a person first"),
        ("generate_identity", {"num_images": 99}, "pictures must be a whole number between 1 and 8, not 99."),
        ("generate_identity", {"num_images": "many"}, "must be a whole number between 1 and 8, not 'many'."),
        ("generate_identity", {"fast": "yes"}, "must be true or false, not 'yes'."),
        ("generate_identity", {"scheduler": 3}, "The scheduler must be dpm"),
        ("generate_identity", {"photo": "x"}, "There is no parameter 'photo'; this tool takes photos, identity_file"),
        ("generate_identity", {"photos": "/etc/passwd"}, "There is no such file here."),
        ("generate_identity", {"photos": "http://localhost/gradio_api/file=/etc/passwd"}, "There is no such file here"),
        ("generate_identity", {"photos": "data:image/png;base64,?"}, "not valid base64"),
        ("generate_identity", {"photos": "http://localhost/a.png"}, "Web addresses are not fetched"),
        ("generate_identity", {"photos": 3}, "`photos` takes files"),
        ("edit_expression", {"preset": 4}, "`preset` must be text, not 4."),
        ("edit_expression", {"preset": "Grin"}, "There is no preset 'Grin'"),
        ("normal_map", {"yaw": 200}, "must lie between -75 and 75, not 200."),
        ("nothing", {}, "There is no tool 'nothing'"),
    ],
)
def test_refusals_are_the_librarys(refused: Any, tool: str, arguments: dict[str, Any], message: str) -> None:
    """The same sentences as everywhere, and no file of the server is read."""
    assert message in refused(tool, **arguments)


def test_a_photo_without_a_face_is_said(refused: Any, photos: dict[str, Path]) -> None:
    assert "No face was found" in refused("identify", photos=[as_uri(photos["nobody"])])
    assert "no face number 5" in refused("generate_identity", photos=[as_uri(photos["one"])], faces=[4], steps=1)


def test_cancel_finds_the_runs_of_its_caller(call: Call, use: Call, photo: str) -> None:
    """It looked for them in a session that no run belongs to."""
    import threading

    answers: list[dict[str, Any]] = []
    arguments = {"photos": photo, "num_images": 8, "steps": 100}
    run = threading.Thread(
        target=lambda: answers.append(call("tools/call", name="generate_identity", arguments=arguments))
    )
    run.start()
    while run.is_alive() and not use("cancel")["stopped"]:
        run.join(0.1)
    run.join(60)
    assert answers[0]["result"]["isError"]
    assert "Stopped" in answers[0]["result"]["content"][0]["text"]
