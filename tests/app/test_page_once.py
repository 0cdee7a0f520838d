"""What was found at upload is kept: every photo is decoded, searched and embedded once, counted in the running app."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from arc2face.faces import photo as photo_module
from arc2face.pictures.loading import load_rgb_u8
from tests.app import bundle
from tests.app.walk import browser, few_steps, run, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]
Counts = Counter[tuple[str, bytes]]


@pytest.fixture
def counted(studio: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, bytes]]]:
    """How often each photo (by its pixels) was decoded, searched for faces and embedded by the running app."""
    counts: Counter[tuple[str, bytes]] = Counter()
    analyser, decode = studio.backend.engine().faces, photo_module.as_rgb_u8
    detect, embed = analyser.detect, analyser.embed

    def decoded(source: Any, *names: str) -> Any:
        rgb = decode(source, *names)
        counts["decode", rgb.tobytes()] += isinstance(source, str | Path)  # arrays are decoded already
        return rgb

    def detected(rgb: Any, *args: Any, **options: Any) -> Any:
        counts["detect", rgb.tobytes()] += 1
        return detect(rgb, *args, **options)

    def embedded(rgb: Any, *args: Any, **options: Any) -> Any:
        counts["embed", rgb.tobytes()] += 1
        return embed(rgb, *args, **options)

    monkeypatch.setattr(photo_module, "as_rgb_u8", decoded)
    monkeypatch.setattr(analyser, "detect", detected)
    monkeypatch.setattr(analyser, "embed", embedded)
    yield counts


def zones(page: Page) -> Any:
    return page.locator(".photos input[type=file]")


def test_twelve_photos_are_looked_at_once_each(visit: Any, counted: Counts, tmp_path: Path) -> None:
    """12 photos uploaded and used twice: 12 decodes, 12 detections, 12 embeddings."""
    paths = [bundle.person_photo(tmp_path / f"{k}.png", (40 + k, 190, 60)) for k in range(12)]
    keys = [load_rgb_u8(path).tobytes() for path in paths]
    page = visit()
    zones(page).first.set_input_files([str(path) for path in paths])
    expect(page.get_by_text("12 photos, a face in each")).to_be_visible()
    few_steps(page)
    for name in ("Make pictures", "Make pictures"):
        shown(page.get_by_role("button", name=name)).click()
        expect(shown(page.locator(".progress, .summary"))).to_be_visible()
        expect(shown(page.locator(".summary"))).to_contain_text("pictures")
    assert {what: [counted[what, key] for key in keys] for what in ("decode", "detect", "embed")} == {
        "decode": [1] * 12,
        "detect": [1] * 12,
        "embed": [1] * 12,
    }


def test_look_expression_photo_and_paste_back_look_once(
    visit: Any, counted: Counts, photos: dict[str, Path], tmp_path: Path
) -> None:
    """Look, expression photo and paste-back in one run: each photo is decoded and detected once."""
    other = bundle.person_photo(tmp_path / "smile.png", (50, 180, 70))
    keys = [load_rgb_u8(path).tobytes() for path in (photos["one"], other)]
    page = visit()
    page.get_by_role("tab", name="Expression").click()
    zones(page).first.set_input_files(str(photos["one"]))
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    shown(page.get_by_label("A photo", exact=True)).check()
    shown(page.get_by_role("tabpanel").locator(".photos")).locator("input[type=file]").set_input_files(str(other))
    expect(page.get_by_text("1 face found").locator("visible=true")).to_have_count(2)
    page.get_by_label("Keep the photo's look").check()
    few_steps(page)
    run(page)
    expect(page.get_by_text("pasted into it")).to_be_visible()
    assert [counted["decode", key] for key in keys] == [1, 1]
    assert [counted["detect", key] for key in keys] == [1, 1]
    assert counted["embed", keys[0]] == 1
