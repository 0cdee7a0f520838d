"""YAML files to frozen dataclasses, with every unknown key and wrong type refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from arc2face_training.common.errors import TrainingError

T = TypeVar("T")
NOT_EXPERIMENT = {"experiment": False}
"""Metadata of fields that say how something is computed, not what: they may differ when a run goes on."""


def load_config(cls: type[T], path: Path, overrides: Mapping[str, Any] | None = None) -> T:
    """Read `path` into the dataclass `cls`. `overrides`: dotted key -> value, applied last.

    Raises TrainingError for a file that is not there, is not YAML, or has keys or values that `cls` does not know.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The config {path} cannot be read: {error.strerror}. Check the path.") from error
    except yaml.YAMLError as error:
        raise TrainingError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise TrainingError(f"{path} must hold `key: value` lines at its top level.")
    for key, value in (overrides or {}).items():
        _put(raw, key.split("."), value)
    return from_mapping(cls, raw, str(path))


def from_mapping(cls: type[T], raw: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from nested dicts. `where` names the source in messages."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in raw:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(fields)}."
            raise TrainingError(f"{where} has an unknown key {key!r}; {hint}")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in raw.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise TrainingError(f"{where} is incomplete: {error}.") from error


def experiment(config: Any) -> dict[str, Any]:
    """The settings that make a run what it is, JSON-ready: without `loop`, and without places of files."""
    mapping: dict[str, Any] = {"trainer": type(config).__name__}
    for setting in dataclasses.fields(config):
        named = setting.name == "loop" or "Path" in str(setting.type)
        if not named and setting.metadata.get("experiment", True):
            mapping[setting.name] = _experiment_value(getattr(config, setting.name))
    return mapping


def default_experiments(config: Any) -> dict[str, dict[str, Any]]:
    """Kind of settings -> `experiment` of its defaults, for a config and every group of settings inside it."""
    found = {type(config).__name__: experiment(type(config)())}
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one) and setting.name != "loop":
                found |= default_experiments(one)
    return found


def _experiment_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return experiment(value)
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return [experiment(one) for one in value]
    return to_json(value)


def to_json(value: Any) -> Any:
    """Tuples as lists, everything else that JSON lacks as text."""
    return json.loads(json.dumps(value, default=str))


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise TrainingError(f"The setting {'.'.join(keys)} cannot be changed: {key} is not a group of settings.")
        tree = below
    tree[keys[-1]] = value


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        # YAML reads a bare no, off, yes or on as a truth value.
        words = {False: ("no", "off"), True: ("yes", "on")}.get(value, ()) if isinstance(value, bool) else ()
        value = next((word for word in words if word in arguments), value)
        if value not in arguments:
            raise TrainingError(f"{where} must be one of {', '.join(map(repr, arguments))}, not {value!r}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{where} must be a list, not {value!r}.")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise TrainingError(f"{where} must hold {len(kinds)} values, not {len(value)}.")
        return tuple(_convert(inner, item, where) for inner, item in zip(kinds, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise TrainingError(f"{where} must hold entries with names, not {value!r}.")
        return {str(name): _convert(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{where} must hold settings of its own, not {value!r}.")
        return from_mapping(typing.cast("type[Any]", kind), value, where)
    return _convert_plain(kind, value, where)


def _convert_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    wanted = [kind for kind in kinds if kind is not type(None)]
    for kind in wanted[:-1]:
        try:
            return _convert(kind, value, where)
        except TrainingError:
            continue
    return _convert(wanted[-1], value, where)


def _convert_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return _place(value, where)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:  # YAML reads 1e-4 (no point) as text
            return float(value)
        except ValueError:
            pass
    elif (isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool))) or (
        kind is Any
    ):
        return value
    name = getattr(kind, "__name__", str(kind))
    raise TrainingError(f"{where} must be a {name}, not {value!r}.")


def _place(text: str, where: str) -> Path:
    """A path in which `${NAME}` stands for an environment variable."""
    place = os.path.expandvars(text)
    if "${" in place:
        name = place.split("${", 1)[1].partition("}")[0]
        raise TrainingError(f"{where} is {text}; say where that is: export {name}=/a/folder/of/yours")
    return Path(place)
