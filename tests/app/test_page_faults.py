"""Faults that people met on the page, each with what is right. Numbers as in the notes of the trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Locator, Page, expect

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


def panel(page: Page) -> Locator:
    return shown(page.get_by_role("tabpanel"))


def found(page: Page) -> None:
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()


def unfold(page: Page, name: str) -> None:
    shown(page.get_by_role("button", name=name)).click()


def drop_recipe(page: Page, path: Path | str) -> None:
    zone = panel(page).locator(".drop input[type=file]").last
    zone.set_input_files(str(path))


def picture_with(path: Path, recipe: Any) -> Path:
    info = PngInfo()
    info.add_text("arc2face", json.dumps(recipe))
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    return path


def test_an_example_tapped_during_a_run_takes_its_place(visit: Any, photos: dict[str, Path]) -> None:
    """F2: nothing of the older run is shown any more; the tiny detector sees nobody in an example, and says so."""
    page = visit()
    add_photo(page, photos["one"])
    found(page)
    many_steps(page)
    run(page)
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    page.locator(".strip .thumbnail-item").locator("visible=true").nth(2).click()
    expect(page.locator(".failure")).to_contain_text("No face was found")
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    expect(page.locator(".progress")).to_have_count(0)


def test_results_say_whose_they_are(visit: Any, photos: dict[str, Path]) -> None:
    """F2: the source face stands with the results."""
    page = visit()
    add_photo(page, photos["one"])
    found(page)
    few_steps(page)
    run(page)
    finished(page)
    expect(page.locator(".source")).to_contain_text("Made from one.png")
    expect(page.get_by_alt_text("The face these were made from")).to_be_visible()


def test_the_newest_of_photo_and_saved_identity_counts(visit: Any, photos: dict[str, Path], studio: Any) -> None:
    """F3: a chip says which; a newer photo takes the saved identity's place."""
    identity, _ = studio.client().predict([handle_file(str(photos["other"]))], api_name="/identify")
    page = visit()
    unfold(page, "Saved identity, several photos")
    page.locator(".who .drop input[type=file]").first.set_input_files(identity)
    expect(page.locator(".fact")).to_contain_text("Person: the saved identity identity.npz")
    few_steps(page)
    run(page)
    finished(page)
    expect(page.locator(".source")).to_contain_text("Made from the saved identity identity.npz")
    add_photo(page, photos["one"])
    expect(page.locator(".fact")).to_have_text("Person: one.png")
    found(page)
    run(page)
    expect(page.locator(".source")).to_contain_text("Made from one.png")


def test_a_phone_shows_the_run_when_it_starts(visit: Any, photos: dict[str, Path]) -> None:
    """F4: the results come into view at the start, not at the end."""
    page = visit(viewport=PHONE)
    add_photo(page, photos["one"])
    found(page)
    many_steps(page)
    run(page)
    expect(page.locator(".progress")).to_be_in_viewport()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Your inputs are untouched")).to_be_visible()


def test_a_pose_recipe_brings_back_every_setting(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    """F6: angles, number of pictures, keep-best and seed; C9: strengths beyond a slider's old end."""
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    add_photo(page, photos["one"])
    found(page)
    set_number(page, "Turn", "40")
    set_number(page, "Nod", "-12")
    few_steps(page)
    unfold(page, "Advanced settings")
    set_number(page, "Keep only the most similar", "2")
    set_number(page, "Pose strength", "1.8")
    run(page)
    expect(finished(page)).to_contain_text("2 pictures")
    source = shown(page.locator(".results img")).get_attribute("src")
    assert source is not None
    saved = tmp_path / "pose.png"
    saved.write_bytes(page.request.get(source).body())
    seed = shown(page.get_by_label("Seed", exact=True)).input_value()
    fresh = visit()
    fresh.get_by_role("tab", name="Pose").click()
    unfold(fresh, "Restore settings from a picture")
    drop_recipe(fresh, saved)
    expect(fresh.get_by_test_id("toast-body")).to_contain_text("Settings restored")
    unfold(fresh, "Advanced settings")
    wanted = {"Turn": "40", "Nod": "-12", "Keep only the most similar": "2", "Pictures": "4", "Pose strength": "1.8"}
    for label, value in wanted.items():
        expect(shown(fresh.get_by_label(f"number input for {label}"))).to_have_value(value)
    expect(shown(fresh.get_by_label("Seed", exact=True))).to_have_value(seed)


def test_stop_and_failure_leave_the_pictures_made_before(visit: Any, photos: dict[str, Path]) -> None:
    """F15, F17: a stopped run gives the earlier pictures back; so does a failed one."""
    page = visit()
    add_photo(page, photos["one"])
    found(page)
    few_steps(page)
    run(page)
    finished(page)
    many_steps(page)
    run(page)
    expect(page.get_by_alt_text("Preview of the first picture")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".results .thumbnail-item").locator("visible=true")).to_have_count(4)
    page.locator(".strip .thumbnail-item").locator("visible=true").first.click()
    expect(page.locator(".failure")).to_be_visible()
    expect(page.locator(".results .thumbnail-item").locator("visible=true")).to_have_count(4)


def test_a_second_photo_replaces_the_first_where_one_counts(visit: Any, photos: dict[str, Path]) -> None:
    """F17, F16: one pose photo at a time; a square photo is no normal map, and that is said."""
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    shown(page.get_by_label("A photo", exact=True)).check()
    zone = shown(panel(page).locator(".photos"))
    zone.locator("input[type=file]").first.set_input_files(str(photos["one"]))
    expect(zone.locator("img")).to_have_count(1)
    zone.locator("input[type=file]").first.set_input_files(str(photos["other"]))
    expect(zone.locator("img[src*='other.png']")).to_have_count(1)
    expect(zone.locator(".thumbnail-item")).to_have_count(1)
    add_photo(page, photos["one"])
    found(page)
    shown(page.get_by_label("A normal map", exact=True)).check()
    expect(shown(page.get_by_text("A normal map saved here earlier"))).to_be_visible()
    maps = shown(panel(page).locator(".photos"))
    maps.locator("input[type=file]").first.set_input_files(str(photos["one"]))
    expect(maps.locator("img")).to_be_visible()
    few_steps(page)
    run(page)
    expect(page.locator(".failure")).to_contain_text("not a normal map")


def test_a_rejected_recipe_leaves_its_zone_and_shows_no_markup(visit: Any, tmp_path: Path) -> None:
    """F18, K2: what a recipe says is refused with a sentence, shown as the text it is."""
    page = visit()
    unfold(page, "Restore settings from a picture")
    hostile = {"settings": {"scheduler": "<img src=x id=pwned>", "steps": 4}}
    drop_recipe(page, picture_with(tmp_path / "hostile.png", hostile))
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("The scheduler must be")
    title = page.locator(".toast-title")
    assert title.evaluate("element => getComputedStyle(element, '::before').content") == '"That did not work"'
    expect(toast).to_contain_text("<img src=x id=pwned>")
    expect(page.locator("#pwned")).to_have_count(0)
    expect(panel(page).locator(".drop").last).not_to_contain_text("hostile.png")


def test_the_seed_is_refused_by_its_name(visit: Any, photos: dict[str, Path]) -> None:
    """F19: the message says which field it means."""
    page = visit()
    add_photo(page, photos["one"])
    found(page)
    unfold(page, "Advanced settings")
    shown(page.get_by_label("A new seed every time")).uncheck()
    seed = shown(page.get_by_label("Seed", exact=True))
    seed.fill("-1")
    seed.blur()
    run(page)
    expect(page.locator(".refusal")).to_contain_text("The seed must be a whole number between 0 and")


def test_an_address_with_a_theme_wins_over_the_stored_choice(visit: Any, studio: Any) -> None:
    """F21: `?__theme=light` is light, whatever was chosen before."""
    page = visit(color_scheme="light")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("body")).to_contain_class("dark")
    page.goto(f"{studio.url}/?__theme=light")
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    expect(page.locator("body")).not_to_contain_class("dark")


def test_the_amount_keeps_what_sliders_set(visit: Any) -> None:
    """F1: Mouth open 0.5, eyelid 0.7, then Amount 1.2 gives 0.6 and 0.84."""
    page = visit()
    page.get_by_role("tab", name="Expression").click()
    by_sliders(page)
    set_number(page, "Mouth open", "0.5")
    set_number(page, "Left eye closed", "0.7")
    set_number(page, "Amount", "1.2")
    expect(shown(page.get_by_label("number input for Mouth open"))).to_have_value("0.6")
    expect(shown(page.get_by_label("number input for Left eye closed"))).to_have_value("0.84")


def test_banner_and_reason_name_the_command_that_works_here(visit: Any, photos: dict[str, Path]) -> None:
    """F7, F22: the helpful reason stands at the photo at once, with a command that exists."""
    from arc2face.advice import command

    page = visit()
    expect(page.locator(".banner code")).to_have_text(command("download identity"))
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".note.warn"))).to_contain_text(command("download identity"))


def test_an_angle_of_an_outside_file_is_never_drawn(visit: Any, tmp_path: Path) -> None:
    """K2: a normal map hidden behind an absurd pose is refused."""
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    unfold(page, "Restore settings from a picture")
    hostile = {"settings": {"steps": 4}, "pose": {"strength": 1.0, "angles": [1e9, 0, 0]}}
    drop_recipe(page, picture_with(tmp_path / "turned.png", hostile))
    expect(page.get_by_test_id("toast-body")).to_contain_text("The turn (yaw) in degrees must lie between -75 and 75")
    expect(shown(page.get_by_label("number input for Turn"))).to_have_value("30")


def test_a_flat_grey_square_is_no_map(photos: dict[str, Path]) -> None:
    """F16, in the library's words."""
    from arc2face.errors import PoseError
    from arc2face.sources.pose import square_map

    with pytest.raises(PoseError, match="normal map"):
        square_map(np.asarray(Image.open(photos["one"]).convert("RGB")), 64)
