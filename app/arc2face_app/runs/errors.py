"""The bridge from library errors to what a person at the screen may read.

Errors of `Arc2FaceError`'s tree carry a sentence for the user and are shown as they are. Anything else is a defect of
ours: it is logged with its stack trace under a short id, and the user sees that id only.
"""

from __future__ import annotations

import errno
import functools
import logging
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from arc2face.advice import spoken
from arc2face.errors import Arc2FaceError, CancelledError

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger("arc2face.app")
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


def explain(error: BaseException) -> str:
    """One or two sentences for the user; unknown errors are logged first and named by their log id."""
    if isinstance(error, Arc2FaceError):
        return spoken(str(error))
    if isinstance(error, gr.Error):
        return str(error.message)
    if isinstance(error, OSError) and error.errno in FULL:
        return "The server's disk is full, so this could not be saved. Your inputs are untouched; try again later."
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


def never_silent(page: gr.Blocks) -> None:
    """Let every event of the page, queued or not, end in a result or in an error that says something.

    Gradio hides the text of errors that are not its own; what goes wrong before our functions are called, such as a
    value that does not fit its field, would otherwise reach the visitor as nothing at all.
    """
    process, preprocess = page.process_api, page.preprocess_data

    @functools.wraps(process)
    async def processed(*args: Any, **kwargs: Any) -> Any:
        with errors_shown():
            return await process(*args, **kwargs)

    @functools.wraps(preprocess)
    async def preprocessed(*args: Any, **kwargs: Any) -> Any:
        try:
            return await preprocess(*args, **kwargs)
        except (gr.Error, OSError):
            raise
        except Exception as error:
            logger.info("a value does not fit its field: %s", error)
            raise gr.Error("One of the values does not fit its field.", print_exception=False) from None

    page.process_api, page.preprocess_data = processed, preprocessed
