"""Pickles as inert trees: what a file says it is made of, without making any of it.

A normal unpickler imports what a file names and calls it. Here a name stays a `Name`, a call stays a `Made` (what was
to be called, with what, and the state it was to get), and a reference out of the file stays an `Outside`. Text,
numbers, lists and dictionaries become themselves. Nothing is imported, nothing is called, and a file can make this
reader neither slow nor large: its bytes and steps are counted, memory grows with what was read only, and keys that
are costly to hash are refused.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

__all__ = ["Made", "Name", "Outside", "RefusedError", "read_inert"]

_MAX_STEPS = 1_000_000
_MAX_DEPTH_OF_STACK = 100_000
_MAX_WHOLE_BYTES = 1024
_SCALARS = (str, bytes, int, float, type(None))
_DICTIONARIES = frozenset({("collections", "OrderedDict"), ("collections", "defaultdict")})


class RefusedError(ValueError):
    """The pickle is damaged or asks for something that is not allowed; the text says what."""


@dataclass(frozen=True, slots=True)
class Name:
    """A module-level name that the file mentions."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:120]


@dataclass(slots=True, eq=False)
class Made:
    """An object that the file wants made: `what(*args)`, then given `state`. Items set on it are dropped."""

    what: Any
    args: Any
    state: Any = None


@dataclass(slots=True, eq=False)
class Outside:
    """A reference to something that is not in the pickle, such as the bytes of a tensor."""

    pid: Any


def read_inert(stream: BinaryIO, size: int, allowed: Callable[[Name], bool] | None = None) -> Any:
    """One pickle from `stream`, which is left behind its last byte.

    Args:
        stream: at the pickle's first byte.
        size: most bytes to read.
        allowed: decides about every name in the file; a name that is not allowed ends the reading.

    Raises:
        RefusedError: damaged, too large, or refused.
    """
    try:
        return _Machine(stream, size, allowed).run()
    except RefusedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise RefusedError(f"it is damaged ({str(error)[:120] or type(error).__name__})") from error


_MARK = object()


class _Machine:
    """The stack machine of the pickle format, protocols 0 to 5, without any of its powers."""

    def __init__(self, stream: BinaryIO, size: int, allowed: Callable[[Name], bool] | None) -> None:
        self.stream = stream
        self.left = size
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(_MAX_STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise RefusedError(f"it uses the pickle instruction {code!r}, which no weights need")
            step(self)
            if len(self.stack) > _MAX_DEPTH_OF_STACK:
                raise RefusedError("it is nested too deeply")
        raise RefusedError(f"it takes more than {_MAX_STEPS} steps to read")

    def take(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise RefusedError("it is cut off, or larger than such a file can be")
        data = self.stream.read(count)
        if len(data) != count:
            raise RefusedError("it is cut off")
        self.left -= count
        return data

    def line(self) -> bytes:
        data = self.stream.readline(self.left + 1)
        self.left -= len(data)
        if not data.endswith(b"\n") or self.left < 0:
            raise RefusedError("it is cut off")
        return data[:-1]

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("it is damaged (its stack is empty)")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("it is damaged (its stack is empty)")
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        at = next((i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _MARK), None)
        if at is None:
            raise RefusedError("it is damaged (a mark is missing)")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("it is damaged (a name that is no text)")
        if not (module + name).isprintable():  # lone surrogates could not be told in any message
            raise RefusedError("it is damaged (a name with characters that no name has)")
        found = Name(module, name)
        if self.allowed is not None and not self.allowed(found):
            raise RefusedError(f"it asks for {found}, which such a file does not need")
        self.push(found)

    def make(self, what: Any, args: Any) -> None:
        if not isinstance(what, Name | Made):
            raise RefusedError("it is damaged (a call of something that is no function)")
        known = isinstance(what, Name) and (what.module, what.name) in _DICTIONARIES
        self.push(_ordered(args) if known else Made(what, args))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, _Ordered):  # its attributes, such as a state dict's _metadata, are dropped
            raise RefusedError("it changes something that is not its own")

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            cast("list[Any]", target).extend(items)
        elif not isinstance(target, Made):
            raise RefusedError("it is damaged (items for something that is no list)")

    def fill(self, pairs: list[Any]) -> None:
        target = self.top()
        if len(pairs) % 2:
            raise RefusedError("it is damaged (a key without a value)")
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[_cheap_key(key)] = value
        elif not isinstance(target, Made):
            raise RefusedError("it is damaged (entries for something that is no dictionary)")


def _cheap_key(key: Any) -> Any:
    """Refuses keys whose hash can cost more than their size: tuples of tuples double it with every level."""
    if isinstance(key, tuple):
        parts = cast("tuple[Any, ...]", key)
        cheap = len(parts) <= 64 and all(isinstance(part, _SCALARS) for part in parts)
    else:
        cheap = isinstance(key, (*_SCALARS, Name, Made))
    if not cheap:
        raise RefusedError("it has a dictionary whose keys are neither text nor numbers")
    return key


class _Ordered(dict[Any, Any]):
    """An OrderedDict or defaultdict, which may carry attributes."""


def _ordered(args: Any) -> _Ordered:
    """Python 2 passes the entries of an OrderedDict as a list of pairs."""
    if isinstance(args, tuple) and len(cast("tuple[Any, ...]", args)) == 1 and isinstance(args[0], list):
        return _Ordered({_cheap_key(pair[0]): pair[1] for pair in args[0]})
    return _Ordered()


def _whole(machine: _Machine, size: int) -> None:
    if size > _MAX_WHOLE_BYTES:
        raise RefusedError("it holds a number of absurd length")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _decimal(machine: _Machine) -> None:
    text = machine.line().removesuffix(b"L")
    if text in (b"00", b"01"):
        machine.push(text == b"01")
    elif len(text) > _MAX_WHOLE_BYTES:
        raise RefusedError("it holds a number of absurd length")
    else:
        machine.push(int(text))


def _quoted(machine: _Machine) -> None:
    text = machine.line().strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in b"'\"":
        raise RefusedError("it is damaged (a text without quotes)")
    machine.push(codecs.escape_decode(text[1:-1])[0].decode("latin1"))


def _text(machine: _Machine, form: str) -> None:
    machine.push(machine.take(machine.number(form)).decode("utf-8", "surrogatepass"))


def _raw(machine: _Machine, form: str) -> None:
    machine.push(machine.take(machine.number(form)))


def _latin(machine: _Machine, form: str) -> None:
    machine.push(machine.take(machine.number(form)).decode("latin1"))


def _get(machine: _Machine, index: int) -> None:
    machine.push(machine.memo[index])


def _put(machine: _Machine, index: int) -> None:
    if index < 0:
        raise RefusedError("it is damaged (a negative memo)")
    machine.memo[index] = machine.top()  # a dictionary: an index of two billion takes no more room than another


def _tuple(machine: _Machine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(items)))


def _name(machine: _Machine) -> None:
    machine.name(machine.line().decode(), machine.line().decode())


def _stack_name(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _call(machine: _Machine) -> None:
    args, what = machine.pop(), machine.pop()
    machine.make(what, args)


def _call_with_names(machine: _Machine) -> None:
    machine.pop()
    _call(machine)


def _instance(machine: _Machine) -> None:
    _name(machine)
    what = machine.pop()
    machine.make(what, tuple(machine.to_mark()))


def _object(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.make(items[0], tuple(items[1:]))


def _entry(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.fill([key, value])


def _item(machine: _Machine) -> None:
    machine.extend([machine.pop()])


def _new_dictionary(machine: _Machine) -> None:
    pairs = machine.to_mark()
    machine.push({})
    machine.fill(pairs)


def _drop(machine: _Machine) -> None:
    if not machine.stack:
        raise RefusedError("it is damaged (its stack is empty)")
    machine.stack.pop()


_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"(": lambda m: m.push(_MARK),
    b"0": _drop,
    b"1": lambda m: m.to_mark(),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _decimal,
    b"L": _decimal,
    b"J": lambda m: m.push(m.number("i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("H")),
    b"\x8a": lambda m: _whole(m, m.number("B")),
    b"\x8b": lambda m: _whole(m, m.number("I")),
    b"F": lambda m: m.push(float(m.line()[:64])),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"S": _quoted,
    b"T": lambda m: _latin(m, "I"),
    b"U": lambda m: _latin(m, "B"),
    b"B": lambda m: _raw(m, "I"),
    b"C": lambda m: _raw(m, "B"),
    b"\x8e": lambda m: _raw(m, "Q"),
    b"\x96": lambda m: _raw(m, "Q"),
    b"\x98": lambda m: m.top(),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: _text(m, "I"),
    b"\x8c": lambda m: _text(m, "B"),
    b"\x8d": lambda m: _text(m, "Q"),
    b"]": lambda m: m.push([]),
    b"a": _item,
    b"e": lambda m: m.extend(m.to_mark()),
    b"l": lambda m: m.push(m.to_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.to_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"}": lambda m: m.push({}),
    b"d": _new_dictionary,
    b"s": _entry,
    b"u": lambda m: m.fill(m.to_mark()),
    b"\x8f": lambda m: m.push([]),
    b"\x90": lambda m: m.extend(m.to_mark()),
    b"\x91": lambda m: m.push(m.to_mark()),
    b"c": _name,
    b"\x93": _stack_name,
    b"R": _call,
    b"\x81": _call,
    b"\x92": _call_with_names,
    b"i": _instance,
    b"o": _object,
    b"b": lambda m: m.build(),
    b"P": lambda m: m.push(Outside(m.line().decode("latin1"))),
    b"Q": lambda m: m.push(Outside(m.pop())),
    b"g": lambda m: _get(m, int(m.line()[:20])),
    b"h": lambda m: _get(m, m.number("B")),
    b"j": lambda m: _get(m, m.number("I")),
    b"p": lambda m: _put(m, int(m.line()[:20])),
    b"q": lambda m: _put(m, m.number("B")),
    b"r": lambda m: _put(m, m.number("I")),
    b"\x94": lambda m: _put(m, len(m.memo)),
}
