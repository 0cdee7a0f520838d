"""How an endpoint is declared: a table of fields. Signature, docstring, components and validation all come from it.

Gradio takes the names of an endpoint's parameters from the function's signature, their types from components, and what
MCP clients read from the docstring and a schema; one `Field` feeds all of them, so that they cannot drift apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import gradio as gr
from gradio.data_classes import ListFiles
from pydantic import model_validator

from arc2face import checks
from arc2face.errors import Arc2FaceError
from arc2face_app.runs.errors import explain
from arc2face_app.runs.given import taken_as_it_lies

Check = Callable[[Any], object]
"""Raises an Arc2FaceError for a value that does not fit; what it returns does not matter."""


ANY_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": True},
        {"type": "array", "items": {}},
        *({"type": kind} for kind in ("number", "string", "boolean", "null")),
    ],
    "description": "any valid json",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter. `text`: one sentence for people and MCP clients. `check`: judges a value that is not None.

    `schema`: JSON Schema of a value, for MCP clients. `files`: how many uploaded files it takes.
    """

    name: str
    make: Callable[[], Any]
    text: str
    default: Any = None
    check: Check | None = None
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: Literal["none", "one", "several"] = "none"


def any_json(label: str) -> Any:
    """A JSON component, described by a schema that MCP clients accept."""
    component = gr.JSON(None, label=label)
    # On the instance: Gradio writes a stub file beside the module of every subclass of a component.
    component.api_info = lambda: ANY_JSON  # type: ignore[method-assign]
    return component


class _OneOrMore(ListFiles):
    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


def several_files(label: str) -> Any:
    """Several files; a single one that is not in a list is taken as a list of one."""
    component = taken_as_it_lies(gr.File(label=label, file_count="multiple", type="filepath"))
    component.data_model = _OneOrMore
    described = component.api_info()
    component.api_info = lambda: without_references(described)  # type: ignore[method-assign]
    return component


def without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema whose `$defs` stand where they are referred to: Gradio puts it into a larger one for MCP clients,
    in which references to the root lead nowhere.
    """
    definitions: dict[str, Any] = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        fields = cast("dict[str, Any]", node)
        if "$ref" in fields:
            return resolve(definitions[fields["$ref"].rpartition("/")[2]])
        return {name: resolve(value) for name, value in fields.items() if name != "$defs"}

    return resolve(schema)


def files_field(name: str, text: str) -> Field:
    """Uploaded pictures."""
    return Field(name, lambda: several_files(text), text, files="several")


def file_field(name: str, text: str) -> Field:
    """One uploaded file."""
    return Field(name, lambda: taken_as_it_lies(gr.File(label=text, type="filepath")), text, files="one")


def number_field(name: str, text: str, default: float | None = None, check: Check | None = None) -> Field:
    """A number; whether it must be whole and where it must lie says `check`."""
    return Field(name, lambda: gr.Number(default, label=text), text, default, check, _range(check))


def whole_field(name: str, text: str, default: int | None, called: str, limits: tuple[int, int]) -> Field:
    """A whole number within limits. `called`: its name in messages."""
    return number_field(name, text, default, partial(checks.whole, called, limits=limits))


def real_field(name: str, text: str, default: float | None, called: str, limits: tuple[float, float]) -> Field:
    """A number within limits. `called`: its name in messages."""
    return number_field(name, text, default, partial(checks.number, called, limits=limits))


def flag_field(name: str, text: str, default: bool = False) -> Field:
    """A switch."""
    check = partial(checks.flag, f"`{name}`")
    return Field(name, lambda: gr.Checkbox(default, label=text), text, default, check, {"type": "boolean"})


def text_field(name: str, text: str, default: str | None = None, check: Check | None = None) -> Field:
    """A word; one of a few where `check` is a choice."""
    options = check.keywords.get("options") if isinstance(check, partial) else None
    schema = {"type": "string", **({"enum": list(options)} if options else {})}
    return Field(name, lambda: gr.Textbox(default, label=text), text, default, check, schema)


def json_field(name: str, text: str, check: Check | None = None, schema: Mapping[str, Any] = ANY_JSON) -> Field:
    """A JSON value."""
    return Field(name, lambda: any_json(text), text, None, check, schema)


def _range(check: Check | None) -> dict[str, Any]:
    """JSON Schema of the numbers that a check lets pass."""
    if not isinstance(check, partial):
        return {"type": "number"}
    kind = "integer" if check.func is checks.whole else "number"
    limits = check.keywords.get("limits")
    return {"type": kind, **({"minimum": limits[0], "maximum": limits[1]} if limits else {})}


def publish(
    name: str,
    summary: str,
    fields: Sequence[Field],
    answer: str,
    outputs: Sequence[Any],
    run: Callable[[gr.Request, dict[str, Any]], Any],
    **event: Any,
) -> None:
    """Add one endpoint to the page that is being built.

    Args:
        name: the endpoint's name, without a slash.
        summary: what it does, one sentence.
        fields: its parameters, in order; each has a default, so that a caller names only what matters.
        answer: what comes back.
        outputs: components of the answer.
        run: takes the request and the values by field name.
        event: further options of the Gradio event, such as its queue.
    """
    if inspect.isgeneratorfunction(run):

        def endpoint(request: gr.Request, *values: Any) -> Any:
            yield from run(request, _named(fields, values))

    else:

        def endpoint(request: gr.Request, *values: Any) -> Any:
            return run(request, _named(fields, values))

    endpoint.__name__ = name
    endpoint.__doc__ = _docstring(summary, fields, answer)
    parameters = [inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)]
    parameters += [
        inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=Any)
        for field in fields
    ]
    endpoint.__annotations__ = {"request": gr.Request, **{field.name: Any for field in fields}}
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    endpoint.fields = tuple(fields)  # type: ignore[attr-defined]
    options: dict[str, Any] = {"api_name": name, **event}
    if event.get("queue", True):

        def validator(*values: Any) -> Any:
            verdicts = [_verdict(field, value) for field, value in zip(fields, values, strict=True)]
            return verdicts[0] if len(verdicts) == 1 else verdicts  # a list of one would pass for the verdict itself

        options["validator"] = validator
    gr.Button(visible=False).click(endpoint, [field.make() for field in fields], list(outputs), **options)


def refusal(field: Field, value: Any) -> str:
    """Why a value does not fit its field, in the library's words; empty when it does."""
    if field.check is None or value is None:
        return ""
    try:
        field.check(value)
    except Arc2FaceError as error:
        return explain(error)
    return ""


def _verdict(field: Field, value: Any) -> dict[str, Any]:
    said = refusal(field, value)  # stands at the value that does not fit
    return gr.validate(not said, said)


def _named(fields: Sequence[Field], values: Sequence[Any]) -> dict[str, Any]:
    named = {field.name: value for field, value in zip(fields, values, strict=True)}
    return {field.name: field.default if named[field.name] is None else named[field.name] for field in fields}


def _docstring(summary: str, fields: Sequence[Field], answer: str) -> str:
    lines = [summary, "", "Args:", *(f"    {field.name}: {field.text}" for field in fields)]
    return "\n".join([*lines, "", "Returns:", f"    {answer}", ""])
