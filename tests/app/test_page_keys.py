"""The page by keyboard, by address, and by link: U14, and point 10 of the page's issue."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from arc2face.errors import SettingsError
from arc2face_app.page import links
from tests.app.walk import add_photo, browser, finished, many_steps, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]


def focused(page: Page) -> str:
    """What the focused element is called."""
    return page.evaluate(
        "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.innerText || e.tagName; }"
    )


def value(page: Page, label: str) -> str:
    return shown(page.get_by_label(f"number input for {label}", exact=True)).input_value()


def test_a_run_by_keyboard(visit: Any, photos: dict[str, Path]) -> None:
    """U14: Control and Enter make, the focus goes to Stop and to the pictures, arrows walk, Escape closes and stops."""
    page = visit()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    many_steps(page)  # so that Stop is there long enough to be seen
    shown(page.get_by_label("number input for Pictures")).focus()
    page.keyboard.press("Control+Enter")
    expect(shown(page.get_by_role("button", name="Stop", exact=True))).to_be_focused()
    finished(page)
    pictures = page.locator(".picture-grid .open").locator("visible=true")
    expect(pictures.first).to_be_focused()
    for key, place in (("ArrowRight", 1), ("ArrowDown", 3), ("ArrowLeft", 2), ("ArrowUp", 0)):
        page.keyboard.press(key)
        expect(pictures.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("large-picture")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog")).to_contain_text("2 of 4")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(pictures.first).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(shown(page.locator(".progress"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Your inputs are untouched")).to_be_visible()
    expect(pictures.first).to_be_focused()


def test_a_refused_run_keeps_the_focus(visit: Any) -> None:
    """U14."""
    page = visit()
    shown(page.get_by_role("button", name="Make pictures")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".refusal")).to_be_visible()
    assert focused(page) == "Make pictures"


def test_a_link_brings_tab_and_settings_back(visit: Any, studio: Any) -> None:
    """Tab and settings in the address; copied links name no photo."""
    asked = "tab=expression&pictures=2&seed=77&fast=0&steps=9&expression=52:0.3,50:1&look=0.6&paste=head&turn=20"
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{studio.url}/?{asked}")
    expect(page.get_by_role("tab", name="Expression")).to_have_attribute("aria-selected", "true")
    expect(shown(page.get_by_label("number input for Mouth open"))).to_have_value("0.3")
    shown(page.get_by_role("button", name="Advanced settings")).click()
    expect(shown(page.get_by_label("number input for Steps", exact=True))).to_have_value("9")
    expect(shown(page.get_by_label("Seed", exact=True))).to_have_value("77")
    expect(shown(page.get_by_label("Fast mode"))).not_to_be_checked()
    assert value(page, "Keep how much") == "0.6"
    shown(page.get_by_role("button", name="Copy a link to these settings")).click()
    expect(page.get_by_text("The link is copied")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.url
    for part in ("tab=expression", "seed=77", "expression=50:1,52:0.3", "look=0.6", "turn=20", "paste=head"):
        assert part in copied
    page.get_by_role("tab", name="Pose").click()
    assert page.url.endswith("?tab=pose")
    page.reload()
    expect(page.get_by_role("tab", name="Pose")).to_have_attribute("aria-selected", "true")


def test_a_wrong_link_is_said_and_changes_nothing(visit: Any, studio: Any) -> None:
    page = visit()
    page.goto(f"{studio.url}/?tab=pose&turn=900&steps=5")
    expect(page.get_by_test_id("toast-body")).to_contain_text("must lie between -75 and 75, not 900")
    assert value(page, "Turn") != "900"


def test_addresses_are_read_as_they_are_written() -> None:
    values = [0.0] * 55
    values[3], values[50] = -1.25, 0.5
    said = {
        "settings": {"num_images": 3, "seed": 4_000_000_000, "fast": True, "steps": 4, "guidance_scale": 1.5},
        "page": {"pose_from": "Sliders", "yaw": -30, "pitch": 0, "roll": 5.0, "paste": "face"},
        "pose": {"strength": 1, "start": 0, "end": 0.8},
        "expression": {"values": values, "strength": 1.2},
        "reference": {"strength": 0.8},
    }
    text = links.query("expression", said)
    assert "photo" not in text
    asked = dict(pair.split("=") for pair in text.split("&"))
    found = links.content(asked)
    assert found["settings"] == said["settings"]
    assert found["expression"] == said["expression"]
    assert {name: found["page"][name] for name in said["page"]} == said["page"]
    assert found["reference"] == said["reference"]
    assert links.content({"tab": "pose", "utm": "x"}) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"steps": "many"}, "`steps` in this address must be a number"),
        ({"fast": "yes"}, "must be 0 or 1"),
        ({"pose": "mind"}, "must be sliders, photo or map"),
        ({"expression": "99:1"}, "must look like 52:0.3"),
        ({"expression": "1:x"}, "must be a number"),
        ({"expression": "1:1," * 1000}, "too long"),
    ],
)
def test_addresses_that_make_no_sense_are_refused(asked: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        links.content(asked)


def test_only_an_address_that_means_it_decides_about_fast_mode() -> None:
    """A refused address, or one that turns the head, changes nothing else: fast mode stays what suits the machine."""
    assert not links.says_how({"tab": "pose", "steps": "abc"})
    assert not links.says_how({"tab": "pose", "turn": "20"}) and not links.says_how({"seed": "3"})
    assert links.says_how({"fast": "0"}) and links.says_how({"steps": "9"}) and links.says_how({"scheduler": "ddim"})


def test_a_shared_link_has_a_title_a_sentence_and_a_picture(studio: Any) -> None:
    """U16: it was called Gradio, with a picture from elsewhere."""
    asked = urllib.request.Request(f"{studio.url}/?tab=pose", headers={"Accept-Language": "de-AT,en;q=0.5"})
    with urllib.request.urlopen(asked) as answer:
        page = answer.read().decode()
    head = page.partition("<style>")[0] + page.partition("<style>")[2]
    assert 'property="og:title" content="Arc2Face Studio"' in head
    assert f'property="og:image" content="{studio.url}/studio/preview.jpg"' in head
    assert 'content="Gradio"' not in head
    assert 'content="https://' not in head
    assert 'lang="de"' in page[:200]
    with urllib.request.urlopen(f"{studio.url}/studio/preview.jpg") as picture:
        assert picture.headers["content-type"] == "image/jpeg"
        assert len(picture.read()) < 150_000
    with urllib.request.urlopen(f"{studio.url}/studio/de.json") as table:
        assert isinstance(json.load(table), dict)
