"""What a newcomer sees first: the page on the shipped starter models, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from arc2face.engine import Engine
from arc2face_app import server
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from tests.app.conftest import free_port
from tests.app.walk import ARGUMENTS, PATIENCE, finished, shown
from tests.conftest import PROJECT

pytestmark = [pytest.mark.server, pytest.mark.browser]


@pytest.fixture(scope="module")
def page(chromium_path: str | None) -> Iterator[Page]:
    starter = PROJECT / "models" / "starter"
    backend = Backend.of(Engine.open(starter, device="cpu"))
    settings = ServerSettings(port=free_port(), models=starter, mcp=False)
    served = server.launch(settings, backend)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{settings.port}")
        expect(page.get_by_text("Starter models ready")).to_be_visible()
        yield page
        chromium.close()
    served.close()
    backend.close()


def similarities(page: Page) -> list[float]:
    texts = page.locator(".results .caption-label").all_inner_texts()
    return [float(number) for text in texts for number in re.findall(r"Similarity (-?\d\.\d+)", text)]


def test_an_example_becomes_pictures_of_the_same_person(page: Page, tmp_path: Path) -> None:
    expect(page.get_by_text("people who do not exist")).to_be_visible()
    assert page.locator(".note.warn:visible").count() == 0
    expect(shown(page.get_by_label("Fast mode"))).to_be_checked()
    shown(page.locator(".strip .thumbnail-item")).click()
    expect(finished(page)).to_contain_text("4 pictures")
    found = similarities(page)
    assert len(found) >= 3
    assert sorted(found)[-2] > 0.25
    page.screenshot(path=str(tmp_path / "example.png"))


def test_nothing_is_missing_in_any_tab(page: Page) -> None:
    for name in ("Pose", "Expression"):
        page.get_by_role("tab", name=name).click()
        expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
        assert page.get_by_text("Not on this machine yet").locator("visible=true").count() == 0
