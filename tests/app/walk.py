"""Walking through the page in Chromium: fixtures and words for tests. Waits for conditions, never for time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE = {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds a condition may take on a busy machine."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser(chromium_path: str | None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, studio: Any) -> Iterator[Any]:
    """Opens the page; the test fails on script errors and on requests to other hosts."""
    contexts: list[Any] = []
    problems: list[str] = []

    def open_page(script: str = "", **options: Any) -> Page:
        wanted: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(**wanted)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.extend(_foreign(request.url, studio.url)))
        page.goto(studio.url)
        expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
        expect(shown(page.get_by_label("Fast mode"))).to_be_checked()  # as there is no graphics card
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def _foreign(url: str, studio: str) -> list[str]:
    return [] if url.startswith((studio, "data:", "blob:")) else [url]


def shown(locator: Locator) -> Locator:
    return locator.locator("visible=true").first


def add_photo(page: Page, photo: Path) -> None:
    page.locator(".who .photos input[type=file]").first.set_input_files(str(photo))


def few_steps(page: Page) -> None:
    shown(page.get_by_label("Fast mode")).check()


def many_steps(page: Page) -> None:
    """A run that takes a while."""
    shown(page.get_by_label("Fast mode")).uncheck()
    shown(page.get_by_role("button", name="Advanced settings")).click()
    set_number(page, "Steps", "100")


def by_sliders(page: Page) -> None:
    """In the Expression tab: numbers set by hand."""
    page.get_by_role("radio", name="Sliders", exact=True).locator("visible=true").first.check()
    expect(shown(page.get_by_label("number input for Mouth open"))).to_be_visible()


def set_number(page: Page, label: str, value: str) -> None:
    field = shown(page.get_by_label(f"number input for {label}"))
    slider = shown(page.get_by_label(f"range slider for {label}"))
    # A part that has just been unfolded is drawn once more by the page, which forgets what was typed in that instant.
    # No hand is that quick; a test is. The slider beside the field follows once the page has taken the number.
    for _ in range(20):
        field.fill(value)
        field.press("Tab")
        page.wait_for_timeout(250)
        if slider.input_value() == value and field.input_value() == value:
            return
    expect(slider).to_have_value(value)


def run(page: Page) -> None:
    shown(page.get_by_role("button", name="Make pictures")).click()


def finished(page: Page) -> Locator:
    summary = shown(page.locator(".summary"))
    expect(summary).to_contain_text("pictures")
    return summary
