"""What can be done with pictures once they are there, and what is left of them after a reload. In Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from arc2face.engine import Engine
from arc2face.pictures.recipes import read_recipe
from arc2face_app import server
from arc2face_app.runs import visitors, visits
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from tests.app.conftest import free_port
from tests.app.walk import add_photo, browser, few_steps, finished, run, set_number, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]
BLOCKED = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});"

FULL = "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"


def made(page: Page, photo: Path) -> Locator:
    """Four pictures in the open tab; returns their tiles."""
    add_photo(page, photo)
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    few_steps(page)
    run(page)
    finished(page)
    return tiles(page)


def tiles(page: Page) -> Locator:
    return page.locator(".results .thumbnail-item").locator("visible=true")


def past(page: Page) -> Locator:
    page.get_by_role("tab", name="History").click()
    return page.locator(".history .thumbnail-item")


def choose(tile: Locator, name: str) -> None:
    tile.get_by_label("More for this picture").click()
    tile.page.get_by_role("menuitem", name=name, exact=True).click()


def natural(image: Locator) -> int:
    return image.evaluate("image => image.decode().then(() => image.naturalWidth)")


def test_pictures_open_large_and_compare_with_the_photo(visit: Any, photos: dict[str, Path]) -> None:
    """F5, U7, U8, U14: whole captions, no gap, arrow keys, before and after in Identity, the focus comes back."""
    page = visit(viewport={"width": 1440, "height": 900})
    found = made(page, photos["one"])
    expect(found).to_have_count(4)
    cut = "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator(".results .caption-label").evaluate_all(cut) == 0
    grid, summary = (
        page.locator(".results .picture-grid").bounding_box(),
        shown(page.locator(".summary")).bounding_box(),
    )
    assert grid is not None and summary is not None
    assert summary["y"] - (grid["y"] + grid["height"]) < 60
    widest = found.first.locator("img").bounding_box()
    assert widest is not None and widest["width"] <= 2 * natural(found.first.locator("img"))
    opener = found.nth(1).get_by_label("Open large")
    opener.focus()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    expect(large).to_contain_text("2 of 4")
    page.keyboard.press("ArrowRight")
    expect(large).to_contain_text("3 of 4")
    page.keyboard.press("Home")
    expect(large).to_contain_text("1 of 4")
    large.get_by_role("button", name="Compare", exact=True).click()
    slider = large.get_by_label("How much of the photo is shown")
    assert natural(large.get_by_alt_text("Your photo")) > 0
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("51")
    expect(large).to_contain_text("1 of 4")
    covered = """() => [...Array(60)].filter((_, k) => !document.elementFromPoint(
        20 + (k % 10) * 150, 20 + Math.floor(k / 10) * 150)?.closest("dialog")).length"""
    assert page.evaluate(covered) == 0
    page.keyboard.press("Escape")
    expect(large).not_to_be_visible()
    expect(opener).to_be_focused()


def test_a_picture_gives_back_its_settings_and_can_be_deleted_and_called_back(
    visit: Any, photos: dict[str, Path]
) -> None:
    """U11: favourite, seed, settings, delete and undo for each picture; never a native question."""
    page = visit()
    page.on("dialog", lambda _: pytest.fail("a native question"))
    found = made(page, photos["one"])
    seeds = [int(text) for text in re.findall(r"seed (\d+)", " ".join(found.all_inner_texts()))]
    heart = found.first.get_by_label("Favourite")
    heart.click()
    expect(heart).to_have_attribute("aria-pressed", "true")
    shown(page.get_by_role("button", name="Advanced settings")).click()
    steps = shown(page.get_by_label("number input for Steps"))
    before = steps.input_value()
    set_number(page, "Steps", "7")
    choose(found.nth(2), "Use its seed")
    expect(shown(page.get_by_label("Seed", exact=True))).to_have_value(str(seeds[2]))
    expect(shown(page.get_by_label("A new seed every time"))).not_to_be_checked()
    choose(found.nth(1), "Use its settings")
    expect(page.get_by_test_id("toast-body").last).to_contain_text("Settings restored")
    expect(steps).to_have_value(before)
    choose(found.nth(1), "Delete")
    expect(found).to_have_count(3)
    expect(past(page)).to_have_count(3)
    page.locator(".history").get_by_label("Open large").first.click()
    large = page.get_by_role("dialog")
    large.get_by_role("button", name="Delete", exact=True).click()
    expect(large.get_by_text("Picture deleted.")).to_be_visible()
    expect(large).to_contain_text("1 of 2")
    large.get_by_role("button", name="Undo").click()
    expect(large).to_contain_text("of 3")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Identity").click()
    page.get_by_role("button", name="Undo").click()
    expect(found).to_have_count(4)
    expect(past(page)).to_have_count(4)
    page.get_by_label("Favourites only").check()
    expect(page.locator(".history .thumbnail-item")).to_have_count(1)
    choose(page.locator(".history .thumbnail-item").first, "Delete")
    page.get_by_role("tab", name="Identity").click()
    expect(found).to_have_count(3)  # what is deleted in the history is gone in its tab, too


def test_a_picture_goes_to_another_tab_and_out_larger(visit: Any, photos: dict[str, Path]) -> None:
    """U2 and the enlarged export: "turn it" makes the picture the photo of the Pose tab; 2x has twice the pixels."""
    page = visit()
    found = made(page, photos["one"])
    width = natural(found.first.locator("img"))
    with page.expect_download() as download:
        choose(found.first, "Download 2× larger, no detail added")
    saved = download.value.path()
    with Image.open(saved) as picture:
        assert picture.size == (2 * width, 2 * width)
    assert read_recipe(saved)["enlarged"] == 2
    found.first.get_by_label("Open large").click()
    page.get_by_role("dialog").get_by_role("button", name="Turn it").click()
    expect(page).to_have_url(re.compile(r"[?&]tab=pose"))  # a reload comes back to the tab that was opened
    expect(page.get_by_role("tab", name="Pose")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".photos img[src*='identity-1-seed']").first).to_be_visible()
    expect(shown(page.locator(".peek img"))).to_be_visible()  # drawn, although nobody tapped the tab


def test_a_series_is_a_film_and_a_sheet_on_the_page(visit: Any, photos: dict[str, Path]) -> None:
    """U9: animation and contact sheet are seen and saved, and stand in the history; U17: so do pasted pictures."""
    page = visit()
    page.get_by_role("tab", name="Pose").click()
    add_photo(page, photos["one"])
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    few_steps(page)
    shown(page.get_by_role("button", name="Turntable")).click()
    set_number(page, "Angles", "3")
    page.get_by_role("button", name="Make a turntable").click()
    expect(finished(page)).to_contain_text("3 pictures")
    assert natural(page.get_by_alt_text("Animation")) > 0
    assert natural(page.get_by_alt_text("Contact sheet")) > natural(page.get_by_alt_text("Animation"))
    with page.expect_download() as download:
        page.locator(".motion").get_by_role("button", name="GIF").click()
    with Image.open(download.value.path()) as film:
        assert (film.format, getattr(film, "n_frames", 1)) == ("GIF", 4)
    page.get_by_role("tab", name="Expression").click()
    shown(page.get_by_label("Keep the photo's look")).check()
    few_steps(page)
    set_number(page, "Pictures", "2")
    run(page)
    expect(page.locator(".results [data-kind=pasted]").locator("visible=true")).to_have_count(2)
    pasted = page.locator(".results [data-kind=pasted] img").locator("visible=true").first
    assert natural(pasted) == 256  # the whole photo
    expect(shown(page.get_by_role("region", name="In your photo")).locator(".picture")).to_have_count(2)
    expect(shown(page.get_by_role("region", name="The faces alone")).locator(".picture")).to_have_count(2)
    expect(past(page)).to_have_count(4 + 3 + 2)
    kinds = page.locator(".history .picture").evaluate_all("all => all.map((one) => one.dataset.kind)")
    assert sorted(kinds) == ["film", "made", "made", "made", "made", "made", "pasted", "pasted", "sheet"]


def test_history_survives_a_reload_and_two_runs_at_once(
    visit: Any, photos: dict[str, Path], studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U11: runs of two tabs that finish together are both there, and so are they after a reload, in full.

    In another page small copies and settings are left, and it says why. Clear asks and can be undone; the question goes
    when something else is done. A full storage is said, and the pictures of this visit are there all the same.
    """
    monkeypatch.setattr(visitors, "GRACE", 60.0)  # a busy machine takes its time to load the page anew
    monkeypatch.setattr(visits, "PATIENCE", 30.0)  # and to notice that the page before has gone
    page = visit()
    add_photo(page, photos["one"])
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    for name in ("Identity", "Pose"):
        page.get_by_role("tab", name=name).click()
        few_steps(page)
        run(page)
    finished(page)
    tab = page.locator(".history .thumbnail-item")
    expect(past(page)).to_have_count(8)
    expect(page.get_by_role("region", name="Today")).to_be_visible()
    page.get_by_label("Tab", exact=True).select_option("Pose")
    expect(tab).to_have_count(4)
    page.wait_for_function("JSON.parse(localStorage['studio-history']).every((one) => one.thumb)")
    page.reload()
    expect(past(page)).to_have_count(8)
    expect(tab.first.get_by_label("Download")).to_be_visible()
    tab.first.get_by_label("More for this picture").click()
    offered = set(page.get_by_role("menuitem").all_inner_texts())
    assert {"Open large", "Compare with the photo", "Use as photo", "Turn it", "Use its settings"} <= offered
    page.keyboard.press("Escape")
    page = page.context.new_page()
    page.goto(studio.url)
    tab = page.locator(".history .thumbnail-item")
    expect(past(page)).to_have_count(8)
    assert natural(tab.first.locator("img")) > 0
    expect(tab.first.get_by_label("Download")).to_have_count(0)
    tab.first.get_by_label("More for this picture").click()
    expect(page.get_by_text("Only this small copy is left")).to_be_visible()
    page.keyboard.press("Escape")
    choose(tab.last, "Use its settings")
    expect(page.get_by_test_id("toast-body").last).to_contain_text("Settings restored")
    expect(page.get_by_role("tab", name="Identity")).to_have_attribute("aria-selected", "true")
    past(page)
    page.get_by_role("button", name="Clear the history").click()
    page.get_by_label("Tab", exact=True).select_option("Pose")
    page.locator(".lead h2").locator("visible=true").first.click()
    expect(page.get_by_role("button", name="Keep it")).to_have_count(0)
    page.get_by_label("Tab", exact=True).select_option("")
    page.get_by_role("button", name="Clear the history").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Clear the list").click()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(tab).to_have_count(8)
    page.get_by_label("Remember this list in this browser").uncheck()
    assert page.evaluate("localStorage.getItem('studio-history')") is None
    page.evaluate(FULL)
    page.get_by_label("Remember this list in this browser").check()
    page.get_by_role("tab", name="Identity").click()
    made(page, photos["one"])
    expect(past(page)).to_have_count(4)
    expect(page.locator(".remember")).to_contain_text("no room left")


def test_a_browser_that_keeps_nothing_is_no_obstacle(visit: Any, photos: dict[str, Path]) -> None:
    """Storage blocked: everything works, one sentence says what is different."""
    page = visit(script=BLOCKED)
    made(page, photos["one"])
    expect(past(page)).to_have_count(4)
    expect(page.locator(".remember")).to_contain_text("does not let the page remember anything")


def test_an_outputs_folder_keeps_everything(
    browser: Any, models: Path, photos: dict[str, Path], tmp_path: Path
) -> None:
    """Files with their recipes by day; after a reload the full pictures are there; deleting can be undone."""
    backend = Backend.of(Engine.open(models, device="cpu"))
    settings = ServerSettings(port=free_port(), models=models, mcp=False, outputs=tmp_path / "out")
    running = server.launch(settings, backend)
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{settings.port}")
        made(page, photos["one"])
        files = sorted((tmp_path / "out").glob("????-??-??/*.png"))
        assert len(files) == 4
        assert read_recipe(files[0])["settings"]["num_images"] == 1
        page.wait_for_function("localStorage['studio-history']?.length > 100")
        page.close()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{settings.port}")
        large = page.get_by_role("dialog")
        for _ in range(60):  # the browser's small copies are there first, the full pictures a moment later
            past(page).first.get_by_label("Open large").click()
            if "/out/" in (large.get_by_test_id("large-picture").get_attribute("src") or ""):
                break
            page.keyboard.press("Escape")
            page.wait_for_timeout(500)
        assert "/out/" in (large.get_by_test_id("large-picture").get_attribute("src") or "")
        large.get_by_role("button", name="Delete").click()
        expect(large).to_contain_text("1 of 3")
        page.keyboard.press("Escape")
        left = lambda: len(list((tmp_path / "out").glob("*/*.png")))  # noqa: E731
        page.get_by_role("button", name="Undo").wait_for()
        expect(page.locator(".history .thumbnail-item")).to_have_count(3)
        _until(page, lambda: left() == 3)
        page.get_by_role("button", name="Undo").click()
        _until(page, lambda: left() == 4)
    finally:
        context.close()
        running.close(verbose=False)
        backend.close()


def _until(page: Page, condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail("it never came true")
