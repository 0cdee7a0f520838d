"""The endpoints as tools for MCP clients.

Gradio's MCP server is a client of its own page. What is put in its place here: schemas from our own tables of fields,
refusals in the library's words, answers as JSON, files that may be passed on from one call to the next, and a session
per network address, so that `cancel` finds what it is to stop.
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arc2face_app.api.fields import Field, refusal
from arc2face_app.api.toolfiles import FILE_TEXT, content, stored

if TYPE_CHECKING:
    import gradio as gr
    from gradio_client import Client

MAX_CLIENTS = 32
"""Network addresses that keep a session of their own; the one unused for longest goes first."""
KINDS = {"number": "a number", "integer": "a whole number", "string": "text", "boolean": "true or false"}
_folder: ContextVar[Path] = ContextVar("folder")
"""Where the files of the call under way lie that came as text."""
FILE_SCHEMA: dict[str, Any] = {"type": "string"}


def adapt(page: gr.Blocks, uploads: Path, login: tuple[str, str] | None) -> None:
    """Change the MCP server of a launched page, if it has one.

    `uploads`: the folder of uploads and results; no other file is read for a client. `login`: the page's own, which
    Gradio's MCP server needs like everybody else.
    """
    server: Any = page.mcp_server_obj
    if server is None or page.local_url is None:
        return
    visitors = _Visitors(page.local_url, login)
    tools = _Tools(server, uploads, visitors)
    server.get_input_schema = tools.schema
    server.get_fn_description = tools.description
    server.convert_strings_to_filedata = tools.with_files
    server.postprocess_output_data = content
    server._get_or_create_client = lambda: visitors.client(tools.address())
    tools.answer_calls()


class _Visitors:
    """One session of the page per network address."""

    def __init__(self, url: str, login: tuple[str, str] | None) -> None:
        self._url = url
        self._headers = {"x-gradio-user": "mcp"}
        if login is not None:
            self._headers["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, Client] = OrderedDict()

    def client(self, address: str) -> Client:
        """The client that calls for an address."""
        from gradio_client import Client

        with self._lock:
            client = self._clients.pop(address, None) or Client(
                self._url,
                download_files=False,
                verbose=False,
                analytics_enabled=False,
                ssl_verify=False,
                _skip_components=False,
                headers=self._headers,
            )
            self._clients[address] = client
            while len(self._clients) > MAX_CLIENTS:
                _, oldest = self._clients.popitem(last=False)
                oldest.close()
        return client

    def session(self, address: str) -> str:
        """The session of an address, empty when it has none yet."""
        with self._lock:
            client = self._clients.get(address)
        return client.session_hash if client is not None else ""


class _Tools:
    """The replaced parts of one MCP server. Tools without a table of fields stay as Gradio describes them."""

    def __init__(self, server: Any, uploads: Path, visitors: _Visitors) -> None:
        self._server = server
        self._uploads = uploads.resolve()
        self._visitors = visitors
        self._described = server.get_fn_description

    def fields(self, tool: str) -> tuple[Field, ...]:
        """The table of a tool. Raises ValueError for one that does not exist."""
        endpoint = self._server.tool_to_endpoint.get(tool)
        if endpoint is None:
            known = ", ".join(sorted(self._server.tool_to_endpoint))
            raise ValueError(f"There is no tool {tool[:60]!r}; there are {known}.")
        return getattr(self._server.get_block_fn_from_endpoint_name(endpoint).fn, "fields", ())

    def schema(self, tool: str, parameters: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[list[Any]]]:
        """JSON Schema of a tool's arguments, and where files stand among them."""
        del parameters  # texts come from the same table
        fields = self.fields(tool)
        properties = {field.name: _schema(field) for field in fields}
        places = [[field.name] for field in fields if field.files != "none"]
        return {"type": "object", "properties": properties, "additionalProperties": False}, places

    def description(self, block: Any, tool: str) -> tuple[str, dict[str, str]]:
        """What a tool does and how files are given."""
        lines = str(block.fn.__doc__ or "").strip().splitlines()
        returns = " ".join(line.strip() for line in lines[lines.index("Returns:") + 1 :]) if "Returns:" in lines else ""
        fields = self.fields(tool)
        takes_files = any(field.files != "none" for field in fields)
        text = f"{lines[0] if lines else tool} Returns: {returns}{' ' + FILE_TEXT if takes_files else ''}"
        return text, {field.name: field.text for field in fields}

    def with_files(self, arguments: Mapping[str, Any], places: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Arguments with files in the place of the texts that name them. Raises ValueError."""
        changed, folder = dict(arguments), _folder.get()
        for (name,) in places:
            given = changed.get(name)
            if isinstance(given, list):
                changed[name] = [stored(text, self._uploads, folder) for text in cast("list[Any]", given)]
            elif given is not None:
                changed[name] = stored(given, self._uploads, folder)
        return changed

    def address(self) -> str:
        """The network address of the call under way."""
        request = self._server.mcp_server.request_context.request
        return request.client.host if request is not None and request.client is not None else ""

    def answer_calls(self) -> None:
        """Look at the arguments of every call before the MCP library does, and say what is wrong as we say it."""
        from mcp import types

        handlers: dict[Any, Any] = self._server.mcp_server.request_handlers
        inner = handlers[types.CallToolRequest]

        async def handler(call: types.CallToolRequest) -> types.ServerResult:
            request = self._server.mcp_server.request_context.request
            if request is not None:
                request.session_hash = self._visitors.session(self.address())  # where nothing is queued
            try:
                fields = self.fields(call.params.name)
                call.params.arguments = accepted(fields, call.params.arguments or {})
            except ValueError as error:
                said = types.TextContent(type="text", text=str(error))
                return types.ServerResult(types.CallToolResult(content=[said], isError=True))
            with tempfile.TemporaryDirectory(prefix="mcp-", dir=self._uploads) as folder:
                _folder.set(Path(folder))
                return _structured(await inner(call))

        handlers[types.CallToolRequest] = handler


def accepted(fields: Sequence[Field], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call: what is null is left out, one file is a list of one.

    Raises:
        ValueError: a name that the tool does not know, or a value that does not fit its field, in words.
    """
    known = {field.name: field for field in fields}
    unknown = [name for name in arguments if name not in known]
    if unknown:
        names = ", ".join(known) or "none"
        raise ValueError(f"There is no parameter {unknown[0][:60]!r}; this tool takes {names}.")
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        said = refusal(known[name], value) or _mistaken(known[name], value)
        if said:
            raise ValueError(said)
    several = {name for name, field in known.items() if field.files == "several"}
    return {name: [value] if name in several and isinstance(value, str) else value for name, value in given.items()}


def _mistaken(field: Field, value: Any) -> str:
    """Why a value is of the wrong kind; empty when it is not, or when the field's own check tells."""
    if field.files != "none":
        texts: list[Any] = value if isinstance(value, list) and field.files == "several" else [value]
        return "" if all(isinstance(text, str) for text in texts) else f"`{field.name}` takes files. {FILE_TEXT}"
    kind = str(field.schema.get("type", ""))
    if kind == "string" and not isinstance(value, str):
        return f"`{field.name}` must be {KINDS[kind]}, not {json.dumps(value)[:40]}."
    return ""


def _schema(field: Field) -> dict[str, Any]:
    described: dict[str, Any] = {"description": field.text}
    if field.files == "several":
        return {"type": "array", "items": FILE_SCHEMA, **described}
    if field.files == "one":
        return {**FILE_SCHEMA, **described}
    usual = {} if field.default is None else {"default": field.default}
    return {**field.schema, **described, **usual}


def _structured(result: Any) -> Any:
    """The same answer, its JSON once more where newer clients look for it."""
    answer = result.root
    if not answer.isError and answer.content and answer.content[0].type == "text":
        answer.structuredContent = json.loads(answer.content[0].text)
    return result
