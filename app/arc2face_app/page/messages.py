"""Messages that pop up. Gradio renders their text as HTML, so it is escaped here, and nowhere else.

The page sends every message through this module; names, recipes and errors from outside stay plain text that way.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import gradio as gr

from arc2face_app.runs.errors import explain

P = ParamSpec("P")
T = TypeVar("T")


class Shown(gr.Error):
    """A message about an error, escaped already."""


def warn(text: str) -> None:
    """A warning that goes away by itself."""
    gr.Warning(_plain(text))


def tell(text: str, seconds: float = 6) -> None:
    """A note that goes away by itself."""
    gr.Info(_plain(text), duration=seconds)


def words(error: BaseException) -> str:
    """What a person may read about an error, as plain text; unknown errors are logged under an id."""
    return explain(error)


def as_shown(text: str) -> Shown:
    """An error to raise, so that Gradio shows `text` and prints no stack trace."""
    return Shown(_plain(text), print_exception=False)


@contextmanager
def errors_shown() -> Generator[None]:
    """Turn every error inside the block into one that Gradio shows as a message."""
    try:
        yield
    except Shown:
        raise
    except Exception as error:
        raise as_shown(words(error)) from None


def shows_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator form of `errors_shown`, for plain (not generator) event functions."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with errors_shown():
            return function(*args, **kwargs)

    return wrapped


def _plain(text: str) -> str:
    return html.escape(text, quote=False)
