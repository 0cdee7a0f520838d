"""The languages of the page: one table of texts each, in `app/page/texts`, looked up in the browser.

A text's key is the English text itself, so that the page can be read in its source, and what no table knows is shown in
English. Variable parts stand in braces: "Step {n} of {m}". Labels, HTML made in Python, messages and Gradio's own words
all pass through the same look-up (`assets/language.js`), which changes what is shown and nothing of what is sent.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources

LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch", "es": "Español"}
"""Languages by code, as each calls itself; the first is that of the keys."""
PLACE = re.compile(r"\{(\w+)\}")
"""A variable part of a text."""


@functools.cache
def table(language: str) -> Mapping[str, str]:
    """The texts of a language by their English. English is its own table: every text of the page once.

    Raises:
        KeyError: there is no such language.
    """
    if language not in LANGUAGES:
        raise KeyError(language)
    text = (resources.files("app.page.texts") / f"{language}.json").read_text(encoding="utf-8")
    return {str(key): str(value) for key, value in json.loads(text).items()}


def best_language(accepted: str) -> str:
    """The language that a browser's Accept-Language header prefers among ours; English where it names none."""
    ranked: list[tuple[float, str]] = []
    for place, part in enumerate(accepted.split(",")[:20]):
        name, _, weight = part.strip().partition(";")
        code = name.strip().lower().partition("-")[0]
        if code in LANGUAGES:
            ranked.append((_weight(weight) - place * 1e-6, code))
    return max(ranked, default=(0.0, next(iter(LANGUAGES))))[1]


def _weight(text: str) -> float:
    found = re.fullmatch(r"\s*q=(\d(?:\.\d{0,3})?)\s*", text)
    return float(found[1]) if found else 1.0
