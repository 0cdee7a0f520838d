"""The page in three languages: tables that are complete, and no English left where another language is chosen."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from arc2face.errors import InputError
from arc2face.expression.blendshapes import read_recording
from arc2face.expression.values import from_parts, load_expression
from arc2face.faces.identities import load_identity
from arc2face.pictures.loading import load_rgb_u8
from arc2face.pictures.recipe_check import parse_recipe
from arc2face.pictures.video import timestamps
from arc2face.sources.person import check_picks
from arc2face.types import GenerationRequest, IdentityEmbedding
from arc2face_app.page.language import BETWEEN, LANGUAGES, PLACE, best_language, pattern, say, table
from tests.app.test_page_access import open_tab, tabs, unfold
from tests.app.walk import add_photo, browser, visit

__all__ = ["browser", "visit"]  # fixtures
OTHERS = [language for language in LANGUAGES if language != "en"]
SAME_EVERYWHERE = re.compile(
    r"(?ix) .* ( [/\\] | \.(png|zip|npz?|json|ckpt|pt|bin|safetensors|onnx|pkl) | \d\s?[kMG]?B\b | UNet | VAE | CLIP"
    r" | Stable | Arc(2F|F)ace | Apache | OpenRAIL | InsightFace | SMIRK | EMOCA | FLAME | ControlNet | LoRA"
    r" | MediaPipe | antelope | Deutsch | English | Español ) .*"
    r" | (cpu|cuda|mps).* | [\W\d]* ( MIT | cpu | fp32 | GIF | MP4 | WebP | PNG | emoca | flame ) [\W\d]*"
)
"""Names: of programs, files, licences and sizes."""
ENGLISH = re.compile(
    r"(?i)(?<!['\w])(the|must|cannot|this|which|with|from|is|are|choose|use|numbers)(?![\w'])(?![^(]*\))"
)
"""Words that give an English sentence away, outside brackets, where a system has its say."""
_TEXTS = r"""() => {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = document.body; node; node = walker.nextNode()) {
    const element = node.nodeType === 3 ? node.parentElement : node;
    if (!element?.checkVisibility() || element.closest("script, style, code, textarea, [translate=no]")) continue;
    if (node.nodeType === 3) found.add(node.data);
    else for (const name of ["aria-label", "title", "placeholder", "alt"]) found.add(node.getAttribute(name) ?? "");
    if (node.matches?.("input[role=combobox]")) found.add(node.value);
  }
  return [...found].map((text) => text.trim().replace(/\s+/g, " ")).filter((text) => /\p{L}{2}/u.test(text));
}"""


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_in_every_language(language: str) -> None:
    """The same keys, the same variable parts, nothing empty."""
    english, other = table("en"), table(language)
    assert list(english) == list(other)
    assert all(key == text for key, text in english.items())
    for key, text in other.items():
        assert text.strip() == text != ""
        assert sorted(set(PLACE.findall(key))) == sorted(set(PLACE.findall(text))), key
    same = [key for key, text in other.items() if key == text]
    assert len(same) < len(other) / 12, same


def test_texts_are_said_in_whole_in_parts_and_in_pieces() -> None:
    assert say("Make pictures", "de") == "Bilder machen"
    assert say("Picture 2 of 7: step 33 of 175", "de") == "Bild 2 von 7: Schritt 33 von 175"
    assert say("Similarity 0.66 · seed 3", "es") == "Parecido 0,66 · semilla 3"
    assert say(" · best similarity ", "de") == " · größte Ähnlichkeit "
    assert say("Stopped. Your inputs are untouched.", "es") == "Detenido. Tus datos no han cambiado."
    assert say("The seed must be a whole number between 0 and 9, not 'x'.", "de").startswith(
        "Der Startwert: eine ganze"
    )
    assert say("Somebody else's words.", "de") == "Somebody else's words."
    assert say("Add photos", "de") == "Add photos"  # {n} is a number


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr-FR,es;q=0.7,en;q=0.3", "es"),
        ("en-GB,de;q=0.9", "en"),
        ("fr", "en"),
        ("", "en"),
        ("de;q=nonsense", "de"),
    ],
)
def test_the_browser_chooses(accepted: str, language: str) -> None:
    assert best_language(accepted) == language


def test_share_preview_and_texts_of_the_page_are_in_the_tables() -> None:
    from arc2face_app.page.front import DESCRIPTION
    from arc2face_app.page.markup import KINDS
    from arc2face_app.runs.words import STAGES

    english = table("en")
    assert DESCRIPTION in english
    assert all(f"{kind} ready" in english for kind in KINDS.values())
    assert set(STAGES.values()) <= set(english)


def known(text: str, said: set[str], tests: list[re.Pattern[str]]) -> bool:
    """Whether a text is one of a language's, whole, filled in, or in pieces."""
    core = text.strip(" ·")
    if core in said or SAME_EVERYWHERE.fullmatch(core) or not re.search(r"[^\W\d_]{2}", core):
        return True
    if any(test.fullmatch(core) for test in tests):
        return True
    return any(
        len(pieces) > 1 and all(known(piece, said, tests) for piece in pieces)
        for pieces in (between.split(core) for between, _ in BETWEEN)
    )


def unknown(texts: Iterable[str], language: str) -> list[str]:
    """Those of the texts that are not in a language's table."""
    table_of = table(language).values()
    said = {text for text in table_of if not PLACE.search(text)}
    tests = [pattern(text) for text in table_of if PLACE.search(text)]
    return [text for text in texts if not known(text, said, tests)]


def strangers(page: Page, language: str) -> list[str]:
    """Visible texts, and names of controls, that are not in a language's table."""
    return unknown(page.evaluate(_TEXTS), language)


def refusals(tmp_path: Path) -> list[str]:
    """What the library says to values and files that a visitor can give it."""
    person, long = np.full(512, 0.9, np.float32), (np.zeros(50), [0.0, 0.0], [0.0, 0.0, 0.0])
    for name, contents in {
        "a.png": b"",
        "b.png": b"x",
        "c.npz": b"",
        "d.npz": b"PK",
        "e.npy": b"x",
        "f.json": b"{",
        "g.json": b"[]",
        "h.json": b'{"format": "x"}',
        "i.mp4": b"",
        "j.mp4": b"x" * 20,
        "k.csv": b"a,b\n1,2\n",
        "l.csv": b"\xff",
    }.items():
        (tmp_path / name).write_bytes(contents)
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    wide = {"guidance_start": 0.51, "guidance_end": 0.52, "steps": 4, "guidance_scale": 3.0}
    tries: list[Callable[[], object]] = [
        *(
            functools.partial(GenerationRequest, identity=person, **one)
            for one in (
                {"seed": -1},
                {"num_images": 99},
                {"steps": 0},
                {"steps": 99, "fast": True},
                {"guidance_scale": 99.0},
                {"scheduler": "x"},
                {"fast": "yes"},
                {"width": 100},
                {"guidance_start": 1.0},
                wide,
            )
        ),
        *(functools.partial(load_rgb_u8, tmp_path / one) for one in ("a.png", "b.png", "small.png", "no.png")),
        *(functools.partial(load_identity, tmp_path / one) for one in ("c.npz", "d.npz", "e.npy", "no.npz")),
        *(functools.partial(load_expression, tmp_path / one) for one in ("f.json", "g.json", "h.json", "no.json")),
        *(functools.partial(timestamps, tmp_path / one) for one in ("i.mp4", "j.mp4", "no.mp4")),
        *(functools.partial(read_recording, tmp_path / one) for one in ("k.csv", "l.csv", "no.csv")),
        functools.partial(from_parts, np.zeros(60), *long[1:]),
        functools.partial(from_parts, np.full(50, np.nan), *long[1:]),
        functools.partial(check_picks, None, 999),
        functools.partial(IdentityEmbedding, np.zeros(512, np.float32)),
        functools.partial(IdentityEmbedding, np.full(512, np.nan, np.float32)),
        functools.partial(parse_recipe, "{"),
        functools.partial(parse_recipe, '{"settings": {}, "expression": {"values": [1]}}'),
    ]
    said: list[str] = []
    for one in tries:
        with pytest.raises(InputError) as caught:
            one()
        said.append(str(caught.value).replace(str(tmp_path), ""))
    return said


@pytest.mark.parametrize("language", OTHERS)
def test_what_a_visitor_can_provoke_is_said_in_their_language(tmp_path: Path, language: str) -> None:
    """Refusals of the library, for values and files from outside, are in the tables like the page's own words."""
    said = [say(text, language) for text in refusals(tmp_path)]
    assert len(said) > 30
    assert unknown(said, language) == []
    assert [text for text in said if ENGLISH.search(text)] == []


@pytest.mark.server
@pytest.mark.browser
@pytest.mark.parametrize("language", OTHERS)
def test_no_english_is_left(visit: Any, photos: dict[str, Path], language: str) -> None:
    """In every tab with everything unfolded, with a photo, after a refusal."""
    page = visit()
    page.goto(f"{page.url.partition('?')[0]}?lang={language}")
    ready = page.get_by_role("button", name=say("Make pictures", language)).locator("visible=true").first
    expect(ready).to_be_visible()
    found: list[str] = []
    for tab, name in tabs(page).items():
        open_tab(page, tab, say(name, language))
        unfold(page)
        found += [f"{tab}: {text}" for text in strangers(page, language)]
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert page.get_by_text("0,5", exact=True).count()  # the least number of pictures per second
    open_tab(page, "identity", say("Identity", language))
    add_photo(page, photos["nobody"])
    ready.click()
    expect(page.locator(".failure")).to_be_visible()
    found += [f"refused: {text}" for text in strangers(page, language)]
    assert not found, "\n".join(found)


@pytest.mark.server
@pytest.mark.browser
def test_the_language_can_be_switched_and_stays(visit: Any) -> None:
    page = visit()
    german = page.context.browser.new_context(locale="de-AT")
    other = german.new_page()
    other.goto(page.url)
    expect(other.get_by_role("tab", name="Ausdruck")).to_be_visible()
    german.close()
    page.get_by_label("Language").select_option("de")
    expect(page.get_by_role("button", name="Bilder machen").locator("visible=true").first).to_be_visible()
    expect(page.get_by_role("tab", name="Ausdruck")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Bilder machen").locator("visible=true").first).to_be_visible()
    expect(page.locator("#language")).to_have_value("de")
    page.locator("#language").select_option("en")
    expect(page.get_by_role("button", name="Make pictures").locator("visible=true").first).to_be_visible()
    expect(page.get_by_role("tab", name="Expression")).to_be_visible()
