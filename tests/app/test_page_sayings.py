"""What the page refuses and what did not work: said where it belongs, as long as it is true. A trial's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.walk import add_photo, browser, finished, many_steps, run, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]
DROP = """(zone, name) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File(["hello"], name, {type: "text/plain"}));
  zone.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""
COVERED = """(note) => {
  const box = note.getBoundingClientRect(), zone = document.querySelector(".who .photos").getBoundingClientRect();
  return box.top < zone.bottom && box.bottom > zone.top;
}"""


def photos_of(page: Page) -> Locator:
    return page.locator(".who .photos")


def clear(page: Page) -> None:
    photos_of(page).get_by_label("Clear", exact=True).first.click()


def test_refusals_stay_until_their_cause_has_gone(visit: Any, photos: dict[str, Path]) -> None:
    """F1, U6: the same refusal after several photos were cleared, under the field. F4: a file that is no picture."""
    page = visit()
    refused, kinds = page.locator(".refusal"), page.locator(".cannot")
    zone = photos_of(page).locator("input[type=file]").first
    zone.set_input_files([str(photos["one"]), str(photos["other"])])
    expect(page.get_by_text("2 photos, a face in each")).to_be_visible()
    clear(page)
    run(page)
    expect(refused).to_have_text("Add a photo of a person first, or a saved identity.")
    assert not refused.evaluate(COVERED)
    photos_of(page).evaluate(DROP, "notes.txt")
    expect(kinds).to_have_text(
        "“notes.txt”: not taken. Photos may be JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF files."
    )
    expect(refused).to_be_visible()  # still nobody
    zone.set_input_files([{"name": "lying.txt", "mimeType": "image/png", "buffer": b"hello"}])
    expect(page.get_by_text("The file 'lying.txt' is not a picture")).to_be_visible()
    expect(refused).to_have_count(0)
    expect(page.locator(".who .fact")).to_have_text("Person: lying.txt")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    page.get_by_role("tab", name="Video").click()
    shown(page.locator(".motion")).evaluate(DROP, "notes.txt")
    expect(kinds).to_contain_text("Videos may be MP4")


def test_an_error_goes_with_its_cause_and_escape_stops_first(visit: Any, photos: dict[str, Path]) -> None:
    """F5: the box over the results goes after Clear, after a change in another tab, with the next run. F6: Escape."""
    page = visit()
    wrong, made = (
        page.locator(".failure").locator("visible=true"),
        shown(page.get_by_role("button", name="Make pictures")),
    )
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".who .note.warn"))).to_be_visible()
    run(page)
    expect(wrong).to_contain_text("No face was found")
    clear(page)
    expect(wrong).to_have_count(0)
    expect(shown(page.get_by_text("Your pictures appear here"))).to_be_visible()
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".who .note.warn"))).to_be_visible()
    run(page)
    expect(wrong).to_contain_text("No face was found")  # the same words again
    page.get_by_role("tab", name="Pose").click()
    clear(page)
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    run(page)
    finished(page)
    page.get_by_role("tab", name="Identity").click()
    expect(made).to_be_visible()
    expect(wrong).to_have_count(0)
    many_steps(page)
    for _ in range(2):  # the second time over the note of the first
        run(page)
        expect(shown(page.get_by_role("button", name="Stop", exact=True))).to_be_visible()
        page.keyboard.press("Escape")
        expect(made).to_be_visible()
        expect(page.get_by_text("Your inputs are untouched").first).to_be_visible()
    notes = page.locator(".toast-close")
    while notes.count():
        page.keyboard.press("Escape")
        page.wait_for_timeout(300)
    expect(page.get_by_text("Your inputs are untouched")).to_have_count(0)
