"""The bridge from library errors to what a person at the screen may read.

Errors of `Arc2FaceError`'s tree carry a sentence for the user and are shown as they are. Anything else is a defect of
ours: it is logged with its stack trace under a short id, and the user sees that id only.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import gradio as gr

from arc2face.errors import Arc2FaceError, CancelledError

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("arc2face.app")


def explain(error: BaseException) -> str:
    """One or two sentences for the user; unknown errors are logged first and named by their log id."""
    if isinstance(error, Arc2FaceError):
        return str(error)
    if isinstance(error, gr.Error):
        return str(error.message)
    incident = uuid.uuid4().hex[:8]
    logger.error("incident %s", incident, exc_info=error)
    return f"Something went wrong on our side, and your inputs are untouched. Details are in the log under {incident}."


def as_gradio_error(error: BaseException) -> gr.Error:
    """A `gr.Error` that shows `explain(error)` and prints no stack trace of its own."""
    title = "Stopped" if isinstance(error, CancelledError) else "That did not work"
    return gr.Error(explain(error), title=title, print_exception=False)


@contextmanager
def errors_shown() -> Generator[None]:
    """Turn every error inside the block into one that Gradio shows as a message."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise as_gradio_error(error) from None


def shows_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator form of `errors_shown`, for plain (not generator) event functions."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with errors_shown():
            return function(*args, **kwargs)

    return wrapped
