"""First sight, the person that follows, and the ways in. Numbers as in the notes of the trial."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.walk import PHONE, add_photo, browser, finished, run, set_number, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]
DESKTOP = {"width": 1440, "height": 900}
TABS = ("Identity", "Pose", "Expression")
PAGE_LIMIT = 1_000_000
"""Bytes that the page may weigh, everything that it loads included."""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, input, select, textarea, a, [role=radio], [role=tab]")]
  .filter((one) => one.checkVisibility({checkOpacity: false, checkVisibilityCSS: true}))
  .map((one) => [one, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([one, box]) => Math.min(box.width, box.height) > 1 && Math.min(box.width, box.height) < 24)
  .map(([one, box]) => `${one.tagName} ${one.ariaLabel ?? one.textContent.trim()} ${box.width}x${box.height}`)"""
COVERED = """async () => {
  for (const _ of [1, 2, 3]) await new Promise(requestAnimationFrame);
  const bar = [...document.querySelectorAll(".run-row")].find((one) => one.getClientRects().length);
  const focused = document.activeElement, box = (focused.closest("label") ?? focused).getBoundingClientRect();
  if (bar.contains(focused) || !box.height) return "";
  const cover = bar.getBoundingClientRect();
  const hidden = box.top >= cover.top && box.bottom <= cover.bottom && box.right > cover.left && box.left < cover.right;
  return hidden ? focused.outerHTML.slice(0, 200) : "";
}"""
TRANSFER = """(zone, [kind, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/png"}));
  const event = kind === "paste"
    ? new ClipboardEvent(kind, {clipboardData: transfer, bubbles: true})
    : new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true});
  zone.dispatchEvent(event);
}"""


def give(page: Page, kind: str, photo: Path) -> None:
    data = base64.b64encode(photo.read_bytes()).decode()
    page.locator(".who .photos").evaluate(TRANSFER, [kind, photo.name, data])


def seen(face: Locator) -> str:
    """Which picture the preview shows."""
    return face.get_attribute("src") or ""


def in_first_view(page: Page, *, of: Any) -> bool:
    """Whether all of it stands in the first window, unscrolled."""
    box = of.bounding_box()
    return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= DESKTOP["height"]


def test_first_sight_shows_what_comes_out_and_the_choice(visit: Any) -> None:
    """U3, U4, U5: results before the first click, the choice of the tab without scrolling, nothing covered."""
    page = visit(viewport=DESKTOP)
    choices: dict[str, Callable[[], Any]] = {
        "Identity": lambda: shown(page.get_by_label("Fast mode")),
        "Pose": lambda: shown(page.get_by_label("range slider for Turn")),
        "Expression": lambda: shown(page.locator(".chips label.selected")),
    }
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        rows = page.locator(".showcase .row").locator("visible=true")
        expect(rows).to_have_count(2)
        for part in (rows.first, rows.last, choices[name](), shown(page.get_by_role("button", name="Make pictures"))):
            expect(part).to_be_visible()
            assert in_first_view(page, of=part)
        covered = page.evaluate("""() => [...document.querySelectorAll("[role=tabpanel] input, [role=tabpanel] button")]
            .filter((one) => one.checkVisibility() && !one.closest(".run-row"))
            .map((one) => one.getBoundingClientRect()).filter((box) => box.width && box.bottom < innerHeight)
            .filter((box) => document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
              ?.closest(".run-row")).length""")
        assert covered == 0
    expect(shown(page.get_by_label("number input for Amount"))).to_have_value("1")
    weight = page.evaluate("""() => performance.getEntriesByType("resource").concat(
        performance.getEntriesByType("navigation")).reduce((sum, one) => sum + one.transferSize, 0)""")
    assert 0 < weight < PAGE_LIMIT


def test_the_person_follows_into_every_tab(visit: Any, photos: dict[str, Path]) -> None:
    """U2, U1: one photo serves all tabs; pictures are shown at no more than twice their pixels."""
    page = visit(viewport=DESKTOP)
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    expect(page.locator(".who .fact")).to_have_text("Person: one.png")
    for name in ("Pose", "Expression"):
        page.get_by_role("tab", name=name).click()
        expect(page.locator(".who .photos img")).to_be_visible()
        run(page)
        finished(page)
        expect(shown(page.locator(".source"))).to_contain_text("Made from one.png")
    picture = shown(page.locator(".results img"))
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.wait_for_function("""() => [...document.querySelectorAll(".results img")]
        .every((one) => one.getBoundingClientRect().width <= 2 * one.naturalWidth + 2)""")


def test_a_tap_on_an_example_runs_the_open_tab(visit: Any) -> None:
    """U5: the run starts in the tab that is open, with a turn and an expression from the start."""
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    expect(shown(page.get_by_label("number input for Turn"))).to_have_value("30")
    page.locator(".who .strip .thumbnail-item").first.click()
    panel = shown(page.get_by_role("tabpanel"))
    # The tiny detector knows painted discs only; what matters is where the run ended.
    expect(panel.locator(".failure, .results img").first).to_be_visible()
    expect(page.locator(".who .fact")).to_have_text("Person: an example person")
    page.get_by_role("tab", name="Expression").click()
    expect(shown(page.get_by_text("Your pictures appear here"))).to_be_visible()
    assert page.locator(".who .strip .thumbnail-item").first.get_attribute("aria-label") == "Example person: 1"


def test_one_source_of_the_expression_at_a_time(visit: Any, photos: dict[str, Path]) -> None:
    """U6: a name, a photo or sliders; a photo that is missing or unread is said before anything is queued.

    The preview follows whatever changes the numbers.
    """
    page = visit()
    page.get_by_role("tab", name="Expression").click()
    names, mouth = shown(page.locator(".chips")), page.get_by_label("number input for Mouth open")
    # The first name there is: Smile, where the models know it.
    expect(names.get_by_role("radio", name="Mouth open", exact=True)).to_be_checked()
    expect(mouth.locator("visible=true")).to_have_count(0)
    shown(page.get_by_label("A photo", exact=True)).check()
    expect(names).not_to_be_visible()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    run(page)
    expect(page.locator(".refusal")).to_contain_text("Add a photo that shows the expression")
    shown(page.get_by_label("Sliders", exact=True)).check()
    expect(shown(mouth)).to_have_value("0.3")
    face = shown(page.locator(".peek img"))
    opened = seen(face)
    shown(page.get_by_role("button", name="Neutral", exact=True)).click()
    expect(shown(mouth)).to_have_value("0")
    expect(face).not_to_have_attribute("src", opened)
    closed = seen(face)
    shown(page.get_by_label("A name", exact=True)).check()
    expect(names.get_by_role("radio", name="Mouth open", exact=True)).to_be_checked()
    expect(face).not_to_have_attribute("src", closed)  # the name counts again; a hand is no quicker than the server
    shown(page.get_by_label("Sliders", exact=True)).check()
    expect(shown(mouth)).to_have_value("0.3")
    opened = seen(face)
    set_number(page, "Amount", "0.4")
    expect(face).not_to_have_attribute("src", opened)
    expect(shown(mouth)).to_have_value("0.12")


def test_pictures_come_in_by_keyboard_drop_and_camera(visit: Any, photos: dict[str, Path]) -> None:
    """Paste, drop onto a filled zone, agreement of several photos; no camera is said in a sentence."""
    page = visit()
    page.locator(".who .source-selection button").nth(1).click()
    page.get_by_text("Click to Access Webcam").click()
    expect(page.get_by_role("alert")).to_contain_text("camera")
    expect(page.get_by_role("alert")).to_contain_text("file")
    page.locator(".who .source-selection button").first.click()
    give(page, "paste", photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    give(page, "drop", photos["other"])
    expect(
        page.get_by_text("2 photos, a face in each; the × on one drops it. Agreement with the group")
    ).to_be_visible()
    expect(page.locator(".who .fact")).to_have_text("Person: average of 2 photos")
    expect(page.locator(".cannot")).to_have_count(0)


def test_a_phone_has_targets_for_fingers_and_hides_no_focus(visit: Any) -> None:
    """U13, U3: targets of 24 px or more in every tab; the bar at the bottom never lies over what has the focus."""
    page = visit(viewport=PHONE, has_touch=True)
    head = page.locator(".studio-head > :not(.banner)").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().top)"
    )
    assert max(head) - min(head) < 12  # one line: name, state, language, scheme
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        expect(shown(page.get_by_role("button", name="Advanced settings"))).to_be_visible()
        assert page.evaluate(SMALL_TARGETS) == []
        shown(page.get_by_role("tab", name=name)).focus()
        for _ in range(30):
            page.keyboard.press("Tab")
            assert page.evaluate(COVERED) == ""
