"""The few pieces of HTML that Gradio has no component for. Every value that comes from outside is escaped."""

from __future__ import annotations

import base64
import html
import io
import secrets
from collections.abc import Sequence

from PIL import Image

from arc2face.advice import command
from arc2face.types import Progress, RgbU8
from arc2face_app.page.language import LANGUAGES
from arc2face_app.page.theme import FAVICON
from arc2face_app.runs.words import progress_words

KINDS = {"full": "Full models", "starter": "Starter models", "tiny": "Test models"}
BANNERS = {
    "starter": ("", "Starter models: rendered people who do not exist; {} fetches the photorealistic ones."),
    "tiny": ("warn", "Random test models: every step runs, but the pictures are noise. {} fetches the real ones."),
}
TOGGLE = (
    '<button id="scheme-toggle" type="button" aria-label="Switch between light and dark" title="Light or dark">'
    '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="7" fill="none" stroke="currentColor" '
    'stroke-width="1.600"/><path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor"/></svg></button>'
)
SPEAK = (
    '<select id="language" aria-label="Language" translate="no">'
    + "".join(f'<option value="{code}">{name}</option>' for code, name in LANGUAGES.items())
    + "</select>"
)
PREVIEW_QUALITY = 80
"""JPEG quality of the live preview."""
FACE_OUTLINE = (
    '<svg viewBox="0 0 64 64" fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round" '
    'aria-hidden="true">'
    '<path d="M14 46c0-20 6-32 18-32s18 12 18 32"/><path d="M26 43c4 3 8 3 12 0"/>'
    '<circle cx="25" cy="32" r="1.500" fill="currentColor"/><circle cx="39" cy="32" r="1.500" fill="currentColor"/>'
    '<path d="M6 16V8a2 2 0 0 1 2-2h8M48 6h8a2 2 0 0 1 2 2v8M58 48v8a2 2 0 0 1-2 2h-8M16 58H8a2 2 0 0 1-2-2v-8"/></svg>'
)


MORE_NAMES = (
    '<button type="button" class="more-names" aria-expanded="false"><span>More expressions</span>'
    "<span>Fewer expressions</span></button>"
)
"""Unfolds the names beyond the first few; the style sheet hides them, and the button where there is nothing more."""


def header(kind: str, *, ready: bool, problem: str = "", note: str = "") -> str:
    """Name, state of the models, the switch between light and dark, and the honest banner where one is due.

    `note`: what visitors should know about the models besides.
    """
    mark = base64.b64encode(FAVICON.read_bytes()).decode()
    name = KINDS.get(kind, "Models")
    tone, words = ("", f"{name} ready") if ready else ("busy", f"{name}: loading models…")
    if problem:
        tone, words = "bad", "Models not available"
    banner_tone, text = BANNERS.get(kind, ("", ""))
    fetch = f"<code>{html.escape(command('download identity'))}</code>"
    banner = f'<div class="banner {banner_tone}">{text.format(fetch)}</div>' if text and not problem else ""
    below = failure(problem, "The models could not be opened") if problem else notes([(note, True)] if note else [])
    return (
        f'<header class="studio-head"><img class="mark" alt="" src="data:image/svg+xml;base64,{mark}">'
        f"<h1>Arc2Face Studio</h1>{banner}"
        f'<span class="chip {tone}" role="status"><span class="dot"></span>{words}</span>'
        f"{SPEAK}{TOGGLE}</header>{below}"
    )


def lead(title: str, text: str) -> str:
    """Headline of a tab and one or two sentences under it."""
    return f'<div class="lead"><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p></div>'


def step(number: int, title: str) -> str:
    """A numbered section heading."""
    return f'<h3 class="step"><b>{number}</b>{html.escape(title)}</h3>'


def hint(text: str) -> str:
    """A quiet sentence."""
    return f'<p class="hint">{html.escape(text)}</p>'


def no_preview(reason: str) -> str:
    """What stands under an empty preview; the first sentence of the reason is enough there."""
    return f"No preview: {reason.split('. ')[0].rstrip('.')}."


def who(person: str) -> str:
    """Heading of the person strip, with a pill that says who is there and where they came from."""
    pill = f'<span class="fact" role="status">Person: {html.escape(person)}</span>' if person else ""
    return f'<div class="who-head">{step(1, "Add a photo of someone")}{pill}</div>'


def source(face: RgbU8 | None, text: str) -> str:
    """Whose pictures these are: the face they were made from, and where it came from."""
    picture = "" if face is None else f'<img alt="The face these were made from" src="{data_uri(face)}">'
    return f'<div class="source">{picture}<span>{html.escape(text)}</span></div>'


def notes(lines: Sequence[tuple[str, bool]]) -> str:
    """One box per (sentence, is_warning)."""
    boxes = (f'<div class="note{" warn" if warning else ""}">{html.escape(text)}</div>' for text, warning in lines)
    return f'<div role="status">{"".join(boxes)}</div>' if lines else ""


def idle(title: str, text: str, showcase: str = "") -> str:
    """What stands where the pictures will be. `showcase`: markup of pictures of this kind, instead of an outline."""
    words = f"<p><strong>{html.escape(title)}</strong>{html.escape(text)}</p>"
    return f'<div class="idle"><div>{showcase or FACE_OUTLINE}{words}</div></div>'


def people(count: int) -> str:
    """How many, in words."""
    return "1 person" if count == 1 else f"{count} people"


def failure(message: str, title: str = "That did not work") -> str:
    """An error that stays on the page after its toast has gone, until it is past (`assets/sayings.js`).

    Each has a number of its own, so that the same words said again are told from those said before.
    """
    number = secrets.token_hex(6)
    words = f"<strong>{html.escape(title)}</strong>{html.escape(message)}"
    return f'<div class="failure" role="alert" data-number="{number}">{words}</div>'


def progress(event: Progress) -> str:
    """Live preview, a sentence, a bar and the time left."""
    share = event.step / event.total if event.total else None
    words = progress_words(event)
    left = f"about {_duration(event.seconds_left)} left" if event.seconds_left else ""
    value = "" if share is None else f' aria-valuenow="{share * 100:.0f}"'
    bar = (
        f'<div class="bar{" unknown" if share is None else ""}" role="progressbar" aria-label="Progress" '
        f'aria-valuemin="0" aria-valuemax="100"{value}><i style="width:{(share or 0) * 100:.0f}%"></i></div>'
    )
    inner = FACE_OUTLINE
    if event.preview is not None:
        inner = f'<img alt="Preview of the first picture" src="{preview_uri(event.preview)}">'
    return (
        f'<div class="progress"><div class="picture">{inner}</div>'
        f'<div class="words"><span role="status">{html.escape(words)}</span><span>{left}</span></div>{bar}</div>'
    )


def facts(text: str) -> str:
    """Facts with dots between them, each on a line of its own."""
    return "".join(f"<span>{html.escape(one)}</span>" for one in text.split(" · "))


def data_uri(rgb_u8: RgbU8) -> str:
    """A picture as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(rgb_u8).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def preview_uri(rgb_u8: RgbU8) -> str:
    """A picture that is looked at for a moment, as a JPEG data URI: fifty times cheaper than PNG, and a sixth of it."""
    buffer = io.BytesIO()
    Image.fromarray(rgb_u8).save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
