"""The languages of the page: one table of texts each, in `app/arc2face_app/page/texts`, looked up in the browser.

A text's key is the English text itself, so that the page can be read in its source, and what no table knows is shown in
English. Variable parts stand in braces: "Step {n} of {m}"; n, m and k stand for numbers, other names for anything.
Labels, HTML made in Python, messages and Gradio's own words all pass through one look-up (`assets/language.js`), which
changes what is shown and nothing of what is sent. `say` is the same look-up here.
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
BETWEEN = ((re.compile(r"\s+·\s+"), " · "), (re.compile(r"(?<=[.!?…])\s+"), " "))
"""Where a text that is not known as a whole falls into pieces: facts, sentences."""
NUMBERS = re.compile(r"[-−+]?\d+(\.\d+)?\s?(s|min|%|°|×|[kMG]?B)?(, [-−+]?\d+(\.\d+)?)*\.?")
"""Numbers that stand for themselves, alone or with a unit or in a list. Versions and file names are words."""
Pattern = tuple[re.Pattern[str], tuple[str, ...], str]


@functools.cache
def table(language: str) -> Mapping[str, str]:
    """The texts of a language by their English. English is its own table: every text of the page once.

    Raises:
        KeyError: there is no such language.
    """
    if language not in LANGUAGES:
        raise KeyError(language)
    text = (resources.files("arc2face_app.page.texts") / f"{language}.json").read_text(encoding="utf-8")
    return {str(key): str(value) for key, value in json.loads(text).items()}


def say(text: str, language: str) -> str:
    """A text of the page in a language; as it is where the table does not know it."""
    found = re.fullmatch(r"([\s·]*)(.*?)([\s·]*)", text, re.DOTALL)
    assert found is not None  # every text has such parts
    before, core, after = found.groups()
    if language != "en" and NUMBERS.fullmatch(core):
        return f"{before}{re.sub(r'(?<=[0-9])[.](?=[0-9])', ',', core)}{after}"
    key = " ".join(core.split())
    said = _look(key, language) if key else key
    return text if said == key else f"{before}{said}{after}"


def _look(text: str, language: str) -> str:
    known = table(language)
    if text in known and not PLACE.search(text):
        return known[text]
    for test, names, said in patterns(language):
        found = test.fullmatch(text)
        if found:
            for name, part in zip(names, found.groups(), strict=True):
                said = said.replace(f"{{{name}}}", say(part, language))
            return said
    for between, join in BETWEEN:
        pieces = between.split(text)
        if len(pieces) > 1:
            return join.join(say(piece, language) for piece in pieces)
    return text


@functools.cache
def patterns(language: str) -> tuple[Pattern, ...]:
    """The texts with variable parts as (test, names of its places, translation), the most particular first."""
    rows = [(key, said) for key, said in table(language).items() if PLACE.search(key)]
    rows.sort(key=lambda row: -len(PLACE.sub("", row[0])))
    return tuple((pattern(key), tuple(PLACE.findall(key)), said) for key, said in rows)


def pattern(text: str) -> re.Pattern[str]:
    """What a text with variable parts looks like once they are filled in."""
    pieces = PLACE.split(text)  # text, name, text, name, ..., text
    written = [re.escape(piece) if k % 2 == 0 else _place(piece) for k, piece in enumerate(pieces)]
    return re.compile("".join(written), re.DOTALL)


def _place(name: str) -> str:
    return r"(-?\d[\d.,]*)" if name in ("n", "m", "k") else "(.+?)"


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
