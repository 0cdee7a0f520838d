"""A walk through the page in Chromium. Waits for conditions, never for time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file
from PIL import Image
from playwright.sync_api import expect

from tests.app.walk import (
    PHONE,
    add_photo,
    browser,
    by_sliders,
    few_steps,
    finished,
    many_steps,
    run,
    set_number,
    shown,
    visit,
)

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]


def test_the_page_explains_itself(visit: Any) -> None:
    page = visit()
    expect(page).to_have_title("Arc2Face Studio")
    for name in ("Identity", "Pose", "Expression", "History", "Models"):
        expect(page.get_by_role("tab", name=name)).to_be_visible()
    expect(page.get_by_text("There is no text prompt")).to_be_visible()
    expect(page.get_by_text("the pictures are noise")).to_be_visible()
    expect(page.get_by_text("ready")).to_be_visible()


def test_photo_to_pictures_history_and_zip(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    page = visit()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    run(page)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    summary = finished(page)
    expect(summary).to_contain_text("4 pictures")
    captions = page.locator(".results .caption-label")
    expect(captions).to_have_count(4)
    expect(captions.first).to_contain_text("seed")
    page.get_by_label("Most similar first").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all (.zip)").click()
    assert download.value.suggested_filename == "pictures.zip"
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".history .thumbnail-item").first).to_be_visible()
    page.screenshot(path=str(tmp_path / "history.png"))


def test_no_face_is_said_and_nothing_is_lost(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    page = visit()
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".note.warn"))).to_contain_text("No face was found in the photo. The small models")
    run(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("No face was found")
    expect(page.locator(".failure")).to_contain_text("No face was found")
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    expect(page.locator(".photos img").first).to_be_visible()
    assert "Traceback" not in page.content()
    page.screenshot(path=str(tmp_path / "error.png"))


def test_a_missing_photo_is_said_before_anything_is_queued(visit: Any) -> None:
    page = visit()
    run(page)
    expect(page.locator(".refusal")).to_contain_text("Add a photo of a person first, or a saved")


def test_an_unreadable_file_is_said(visit: Any, photos: dict[str, Path]) -> None:
    page = visit()
    add_photo(page, photos["broken"])
    expect(shown(page.locator(".note.warn"))).to_contain_text("empty")


def test_one_of_several_faces_can_be_chosen(visit: Any, photos: dict[str, Path]) -> None:
    page = visit()
    add_photo(page, photos["two"])
    expect(page.get_by_text("Several people here")).to_be_visible()
    second = page.get_by_role("radio", name="2")
    second.check()
    few_steps(page)
    run(page)
    finished(page)
    expect(second).to_be_checked()


def test_stop_ends_a_run_and_gives_the_button_back(visit: Any, photos: dict[str, Path]) -> None:
    page = visit()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    many_steps(page)
    run(page)
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Your inputs are untouched")).to_be_visible()
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    expect(shown(page.get_by_text("Your pictures appear here"))).to_be_visible()


def test_a_closed_tab_stops_its_run(visit: Any, photos: dict[str, Path], studio: Any) -> None:
    page = visit()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    many_steps(page)
    set_number(page, "Pictures", "8")
    run(page)
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    page.close()
    # The next request of somebody else is served soon, not after 8 pictures of 100 steps.
    photo = handle_file(str(photos["one"]))
    settings: dict[str, Any] = {"num_images": 1, "steps": 2}
    job = studio.client().submit([photo], **settings, api_name="/generate_identity")
    assert job.result(timeout=60)[1]["stage"] == "done"


def test_an_example_fills_the_form_and_starts(visit: Any) -> None:
    page = visit()
    page.locator(".strip .thumbnail-item").locator("visible=true").nth(2).click()
    expect(page.locator(".photos img").first).to_be_visible()
    # The tiny detector knows painted discs only, so an example person ends in an explanation; other models draw it.
    expect(page.locator(".failure, .results .thumbnail-item").first).to_be_visible()


def test_a_picture_restores_its_settings(visit: Any, photos: dict[str, Path], studio: Any) -> None:
    settings: dict[str, Any] = {"num_images": 1, "seed": 4321, "steps": 3, "guidance_scale": 1.0, "fast": True}
    files, _ = studio.client().predict([handle_file(str(photos["one"]))], **settings, api_name="/generate_identity")
    page = visit()
    shown(page.get_by_role("button", name="Restore settings from a picture")).click()
    panel = shown(page.get_by_role("tabpanel"))
    panel.locator(".drop input[type=file]").last.set_input_files(files[0])
    expect(page.get_by_test_id("toast-body")).to_contain_text("Settings restored")
    shown(page.get_by_role("button", name="Advanced settings")).click()
    expect(shown(page.get_by_label("Seed", exact=True))).to_have_value("4321")
    expect(shown(page.get_by_label("number input for Steps"))).to_have_value("3")
    expect(shown(page.get_by_label("Fast mode"))).to_be_checked()
    expect(shown(page.get_by_label("A new seed every time"))).not_to_be_checked()


def test_fast_mode_switches_the_ranges(visit: Any) -> None:
    page = visit()
    shown(page.get_by_role("button", name="Advanced settings")).click()
    steps = shown(page.get_by_label("range slider for Steps"))
    guidance = shown(page.get_by_label("number input for Guidance"))
    expect(page.get_by_text("On, as there is no graphics card").first).to_be_visible()
    expect(steps).to_have_attribute("max", "8")
    expect(steps).to_have_attribute("min", "2")
    expect(guidance).to_have_value("1")
    shown(page.get_by_label("Fast mode")).uncheck()
    expect(steps).to_have_attribute("max", "100")
    expect(shown(page.get_by_label("number input for Steps"))).to_have_value("25")
    expect(guidance).to_have_value("3")


def test_pose_sliders_preview_and_turntable(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    preview = shown(page.locator(".peek img"))
    expect(preview).to_be_visible()
    before = preview.get_attribute("src") or ""
    set_number(page, "Turn", "40")
    expect(preview).not_to_have_attribute("src", before)
    add_photo(page, photos["one"])
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    few_steps(page)
    shown(page.get_by_role("button", name="Turntable")).click()
    page.get_by_role("button", name="Make a turntable").click()
    expect(finished(page)).to_contain_text("7 pictures")
    expect(shown(page.locator(".stage img[src*=animation]"))).to_be_visible()
    page.screenshot(path=str(tmp_path / "turntable.png"), full_page=True)


def test_expression_sliders_step_back_and_paste_back(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("tab", name="Expression").click()
    expect(shown(page.locator(".peek img"))).to_be_visible()
    by_sliders(page)
    mouth = shown(page.get_by_label("number input for Mouth open"))
    set_number(page, "Mouth open", "0.4")
    page.get_by_role("button", name="Neutral", exact=True).click()
    expect(mouth).to_have_value("0")
    page.get_by_role("button", name="Step back").click()
    expect(mouth).to_have_value("0.4")
    page.get_by_label("Keep the photo's look").check()
    add_photo(page, photos["one"])
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    few_steps(page)
    run(page)
    finished(page)
    expect(page.get_by_text("pasted into it")).to_be_visible()
    page.screenshot(path=str(tmp_path / "expression.png"), full_page=True)


def test_phone_width_has_no_sideways_scroll(visit: Any, tmp_path: Path) -> None:
    """All tabs are in the row, which scrolls by itself."""
    page = visit(viewport=PHONE)
    page.get_by_role("tab", name="Models").click()
    expect(page.get_by_role("tab", name="Models")).to_be_in_viewport(ratio=1)
    for name in ("Identity", "Pose", "Expression"):
        page.get_by_role("tab", name=name).click()
        expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.screenshot(path=str(tmp_path / "phone.png"))


def test_dark_scheme_follows_the_system_and_the_switch(visit: Any, tmp_path: Path) -> None:
    page = visit(color_scheme="dark")
    body = page.locator("body")
    expect(body).to_contain_class("dark")
    page.screenshot(path=str(tmp_path / "dark.png"))
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(body).not_to_contain_class("dark")
    page.reload()
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    expect(body).not_to_contain_class("dark")


def test_the_keyboard_alone_is_enough(visit: Any, photos: dict[str, Path]) -> None:
    page = visit()
    add_photo(page, photos["one"])
    expect(page.get_by_text("1 face found")).to_be_visible()
    fast = shown(page.get_by_label("Fast mode"))
    page.get_by_role("button", name="Switch between light and dark").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if fast.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Space")
    expect(fast).not_to_be_checked()
    page.keyboard.press("Space")
    expect(fast).to_be_checked()
    make = shown(page.get_by_role("button", name="Make pictures"))
    for _ in range(12):
        page.keyboard.press("Tab")
        if make.evaluate("element => element === document.activeElement"):
            break
    expect(make).to_be_focused()
    page.keyboard.press("Enter")
    finished(page)


def test_models_panel_names_what_is_missing(visit: Any) -> None:
    page = visit()
    page.get_by_role("tab", name="Models").click()
    table = page.locator("table.models")
    expect(table).to_contain_text("arc2face/diffusion_pytorch_model.safetensors")
    expect(table).to_contain_text("Licence")


def test_a_photo_that_browsers_cannot_show_is_shown_and_used(
    visit: Any, photos: dict[str, Path], tmp_path: Path
) -> None:
    """C4: a TIFF had a broken thumbnail."""
    page = visit()
    target = tmp_path / "phone.tiff"
    Image.open(photos["one"]).save(target)
    add_photo(page, target)
    expect(page.get_by_text("1 face found")).to_be_visible()
    shown = page.locator(".photos:visible img").first
    expect(shown).to_have_attribute("src", re.compile(r"phone\.png$"))
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    few_steps(page)
    run(page)
    finished(page)
