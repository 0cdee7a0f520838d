"""A page that is loaded anew, pictures that are taken back, people made of several photos. A trial's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from arc2face_app.runs import visitors, visits
from tests.app.walk import add_photo, browser, finished, many_steps, run, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]


def test_a_page_that_is_loaded_anew_goes_on(
    visit: Any, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """U1: person, chosen face and pictures are there again. U2: a run that was under way is told of in its tab."""
    monkeypatch.setattr(visitors, "GRACE", 60.0)  # a busy machine takes its time to load the page anew
    monkeypatch.setattr(visits, "PATIENCE", 30.0)  # and to notice that the page before has gone
    page = visit()
    ended = page.get_by_text("The run here ended when the page was loaded anew")
    add_photo(page, photos["two"])
    second = page.get_by_role("radio", name="2", exact=True)
    second.check()
    expect(second).to_be_checked()
    run(page)
    finished(page)
    page.get_by_role("tab", name="Pose").click()
    many_steps(page)
    run(page)
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    page.reload()
    expect(shown(ended)).to_be_visible()
    expect(page.locator(".who .fact")).to_have_text("Person: two.png")
    expect(second).to_be_checked()
    page.get_by_role("tab", name="Identity").click()
    expect(page.locator(".results .thumbnail-item").locator("visible=true")).to_have_count(4)
    expect(shown(page.locator(".source"))).to_have_text("Made from two.png")
    expect(ended.locator("visible=true")).to_have_count(0)
    run(page)
    finished(page)
