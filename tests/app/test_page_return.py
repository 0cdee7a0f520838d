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


def test_several_photos_and_what_can_be_taken_back(visit: Any, photos: dict[str, Path]) -> None:
    """U5, U4: a photo without a face is left out with a press, the others are an average. U8: a file, no second box.

    U10: an example stands out while it is the person. U3: Undo stays in view. U6: nothing lies over a field.
    """
    page = visit()
    chip, refused = page.locator(".who .fact"), page.locator(".refusal")
    zone = page.locator(".who .photos input[type=file]").first
    zone.set_input_files([str(photos[name]) for name in ("one", "nobody", "other")])
    leave = page.get_by_role("button", name="Leave it out")
    expect(leave).to_be_visible()
    run(page)
    expect(refused).to_have_text("Photo 2 cannot be used, as said below. Leave it out, or replace it.")
    expect(page.locator(".failure")).to_have_count(0)
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    leave.click()
    expect(chip).to_have_text("Person: average of 2 photos")
    expect(page.get_by_text("2 photos, a face in each; the × on one drops it")).to_be_visible()
    expect(refused).to_have_count(0)
    expect(leave).not_to_be_visible()
    page.get_by_role("button", name="Saved identity, several photos").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save this identity to a file").click()
    assert saved.value.suggested_filename == "identity.npz"
    page.get_by_label("Median, less swayed by one odd photo").check()
    expect(chip).to_have_text("Person: median of 2 photos")
    chosen = page.locator(".who .strip .thumbnail-item.selected")
    page.locator(".who .strip .thumbnail-item").nth(1).click()
    expect(chip).to_have_text("Person: an example person")
    expect(chosen).to_have_count(1)
    expect(page.locator(".failure")).to_contain_text("No face was found")
    page.locator(".who .photos").get_by_label("Clear", exact=True).first.click()
    add_photo(page, photos["one"])
    expect(chip).to_have_text("Person: one.png")
    expect(chosen).to_have_count(0)
    run(page)
    finished(page)
    page.evaluate("scrollTo(0, 0)")
    shown(page.locator(".results .thumbnail-item")).get_by_label("More for this picture").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(shown(page.get_by_role("button", name="Undo"))).to_be_in_viewport()
    shown(page.get_by_role("button", name="Undo")).click()
    expect(page.locator(".results .thumbnail-item").locator("visible=true")).to_have_count(4)


def test_an_address_says_what_it_left_out_and_the_camera_speaks(visit: Any, studio: Any) -> None:
    """U7: names, tabs and fields that do not fit are said, each by its name. U11: the camera's button, in German."""
    page = visit()
    said = page.get_by_test_id("toast-body")
    page.goto(f"{studio.url}/?tab=nonsense&turn=20")
    expect(said).to_contain_text("This page has no tab 'nonsense'")
    page.goto(f"{studio.url}/?turns=20&turn=25&look=0.5&utm_source=x&tab=pose")
    expect(said).to_contain_text("`turns` in this address is not known and was left out; perhaps `turn` was meant.")
    expect(said).to_contain_text("`look` in this address is no field of this tab and was left out.")
    expect(said).not_to_contain_text("utm_source")
    expect(shown(page.get_by_label("number input for Turn"))).to_have_value("25")
    page.goto(f"{studio.url}/?turn=20&lang=de")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Haltung")
    page.locator(".who .source-selection button").nth(1).click()
    expect(page.get_by_text("Klicken, um die Kamera zu öffnen")).to_be_visible()
