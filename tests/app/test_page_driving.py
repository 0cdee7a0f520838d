"""The Video, Group and Models tabs in Chromium, on tiny models."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect, sync_playwright

from arc2face.engine import Engine
from arc2face.weights.download import Options, Plan, plan_files
from arc2face.weights.table import WeightFile
from arc2face_app import server
from arc2face_app.runs import downloads as fetching
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from tests.app.conftest import Studio, free_port
from tests.app.walk import ARGUMENTS, PATIENCE, set_number, shown, visit
from tests.hub_server import Hub
from tests.videos import face, nobody, uneven

__all__ = ["visit"]  # a fixture
pytestmark = [pytest.mark.browser, pytest.mark.server]
DATA = os.urandom(400_000)
NAME = "lcm-lora-sdv1-5/part.dat"
REFUSING = """() => {
  const media = navigator.mediaDevices;
  const real = media.getUserMedia.bind(media);
  media.getUserMedia = async () => { media.getUserMedia = real; throw new DOMException("", "NotAllowedError"); };
}"""


@pytest.fixture(scope="module")
def browser(chromium_path: str | None) -> Iterator[Browser]:
    """With a camera that shows a test pattern."""
    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS, "--use-fake-device-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    moving = [face(44 + 2 * k) for k in range(12)]
    return {
        "face": uneven(folder / "face.gif", moving, [100] * 12),
        "nobody": uneven(folder / "nobody.gif", [nobody(), nobody() // 2], [250, 250]),
    }


def video_tab(page: Page, photo: Path, clip: Path | None) -> None:
    add_person(page, photo)
    page.get_by_role("tab", name="Video").click()
    expect(shown(page.get_by_role("button", name="Make the film"))).to_be_visible()
    if clip is not None:
        page.locator(".motion input[type=file]").set_input_files(str(clip))


def add_person(page: Page, photo: Path) -> None:
    page.locator(".who input[type=file]").first.set_input_files(str(photo))
    expect(page.locator(".who").get_by_text("face found")).to_be_visible()


def test_a_film_is_stopped_and_goes_on(visit: Any, photos: dict[str, Path], clips: dict[str, Path]) -> None:
    """Point 7: progress, stop keeps what is finished, the rest is made without redoing, the film is shown."""
    page = visit()
    video_tab(page, photos["one"], None)
    shown(page.get_by_role("button", name="Take the example clip")).click()
    expect(shown(page.get_by_text("36 frames. At 8 a second that makes 24 pictures."))).to_be_visible()
    page.locator(".motion").get_by_role("button", name="Clear").click()
    page.locator(".motion input[type=file]").set_input_files(str(clips["face"]))
    expect(shown(page.get_by_text("12 frames. At 8 a second that makes 10 pictures."))).to_be_visible()
    expect(page.locator(".frames img")).to_have_count(6)
    shown(page.get_by_label("Fast mode")).uncheck()  # so that there is time to stop
    shown(page.get_by_role("button", name="Advanced settings")).click()
    set_number(page, "Steps", "60")
    shown(page.get_by_role("button", name="Make the film")).click()
    expect(shown(page.get_by_text(re.compile("Picture [2-9] of 10: step")))).to_be_visible()
    shown(page.get_by_role("button", name="Stop")).click()
    expect(shown(page.get_by_text("of 10 pictures are finished and kept"))).to_be_visible()
    tiles = page.locator(".filmed .picture-grid > li")
    kept = tiles.count()
    assert 1 <= kept < 10
    seeds = page.locator(".filmed .summary").inner_text().split("seed ")[1].split()[0]
    shown(page.get_by_role("button", name="Go on with the film")).click()
    expect(tiles).to_have_count(10, timeout=3 * PATIENCE)
    expect(page.get_by_role("button", name="Go on with the film")).to_be_hidden()
    assert page.locator(".filmed .summary").inner_text().split("seed ")[1].split()[0] == seeds
    expect(page.locator(".filmed .motion img")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    past = page.locator(".history .picture")
    expect(past).to_have_count(1)  # a film is one entry, its beginning is part of it
    expect(past).to_contain_text("Film")
    past.get_by_label("More for this picture").click()
    page.get_by_role("menuitem", name="Show its pictures").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 of 10")


def test_what_cannot_drive_is_said_before_anybody_waits(
    visit: Any,
    photos: dict[str, Path],
    clips: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Bad input: nothing, a damaged file, a video without a face, a table for a head without names."""
    page = visit()
    video_tab(page, photos["one"], None)
    shown(page.get_by_role("button", name="Make the film")).click()
    expect(shown(page.get_by_text("Add a video of a face, film yourself"))).to_be_visible()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(500))
    page.locator(".motion input[type=file]").set_input_files(str(broken))
    expect(shown(page.get_by_text("it is damaged, or in a format unknown here"))).to_be_visible()
    page.locator(".motion").get_by_role("button", name="Clear").click()
    page.locator(".motion input[type=file]").set_input_files(str(clips["nobody"]))
    expect(shown(page.get_by_text("2 frames. At 8 a second that makes 2 pictures."))).to_be_visible()
    shown(page.get_by_role("button", name="Make the film")).click()
    expect(shown(page.locator(".failure"))).to_contain_text("No face was found in any of the 2 frames")


def test_the_camera_asks_and_records(visit: Any, photos: dict[str, Path]) -> None:
    """Point 7: without permission a sentence; with it the recording is the video, though its rate varies."""
    page = visit()
    video_tab(page, photos["one"], None)
    # What browsers answer where the visitor says no; without a window nobody is asked.
    page.evaluate(REFUSING)
    page.get_by_role("button", name="Film yourself").click()
    expect(page.locator(".film-said")).to_contain_text("does not let this page use the camera")
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Film yourself").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("button", name="Stop recording (28 s left)")).to_be_visible()
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator(".motion")).to_contain_text("webcam")
    expect(shown(page.get_by_text("a second that makes"))).to_be_visible()
    assert page.locator(".film-view").evaluate("(video) => video.srcObject === null")


def test_a_group_is_changed_face_by_face(visit: Any, photos: dict[str, Path], tmp_path: Path) -> None:
    """Point 8: a row per face, from left to right; whoever is left alone stays; one picture of all."""
    mirrored = tmp_path / "mirrored.png"
    ImageOps.mirror(Image.open(photos["two"])).save(mirrored)  # the clearest face is the right one now
    page = visit()
    page.get_by_role("tab", name="Group").click()
    expect(shown(page.get_by_role("tabpanel")).locator(".strip .thumbnail-item")).to_be_visible()
    page.locator(".who input[type=file]").first.set_input_files(str(mirrored))
    expect(page.locator(".who").get_by_role("radio", name="2")).to_be_checked()
    expect(page.locator(".face-row:visible")).to_have_count(2)
    shown(page.get_by_role("button", name="Change the faces")).click()
    expect(shown(page.get_by_text("Choose an expression for at least one person"))).to_be_visible()
    wanted = page.get_by_label("Face 2", exact=True)
    wanted.click()
    wanted.fill("Yawn")
    wanted.press("Enter")
    expect(wanted).to_have_value("Yawn")
    shown(page.get_by_label("Fast mode")).check()
    shown(page.get_by_role("button", name="Change the faces")).click()
    results = shown(page.get_by_role("tabpanel")).locator(".picture-grid > li")
    expect(results).to_have_count(2)
    expect(results.first).to_contain_text("All together")
    expect(results.last).to_contain_text("Face 2: Yawn")
    results.first.get_by_label("More for this picture").click()
    page.get_by_role("menuitem", name="Compare with the photo").click()
    expect(page.get_by_role("dialog").get_by_role("slider")).to_have_value("74")  # in the middle of that face


@pytest.fixture
def own(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Studio, Hub, Path]]:
    """A page of its own whose downloads come from a server on this machine."""
    sha256 = hashlib.sha256(DATA).hexdigest()
    file = WeightFile(NAME, NAME, "A part", "flame", "https", "", NAME, None, len(DATA), sha256)
    with Hub({NAME: DATA}) as hub:

        def planner(features: Sequence[str], folder: Path, options: Options) -> Plan:
            return plan_files([file], folder, replace(options, mirror=hub.base))

        def of(settings: ServerSettings, backend: Backend, opener: Any) -> fetching.Downloads:
            return fetching.Downloads(backend, tmp_path, planner=planner)

        monkeypatch.setattr(fetching, "downloads_of", of)
        backend = Backend(lambda: Engine.open(models, device="cpu"))
        settings = ServerSettings(port=free_port(), models=models, mcp=False)
        page = server.launch(settings, backend)
        yield Studio(f"http://127.0.0.1:{settings.port}", page, backend), hub, tmp_path
        page.close()
        backend.close()


def test_models_are_fetched_after_their_licence_was_accepted(browser: Browser, own: tuple[Studio, Hub, Path]) -> None:
    """Point 9: the head-reader rows, what is missing and what it costs, acceptance, progress, and the new engine."""
    studio, _, root = own
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(studio.url)
    page.get_by_role("tab", name="Models").click()
    table = page.locator("table.models").first
    expect(table).to_contain_text("Head model (FLAME)")
    expect(table).to_contain_text("Brings head poses read from photos")
    before = studio.backend.engine()
    page.get_by_label("Fast mode as well").check()
    expect(page.get_by_text("Left out until its licence is accepted: A part.")).to_be_visible()
    expect(page.get_by_role("button", name="Fetch")).to_be_hidden()
    page.get_by_label("I have registered at").check()
    page.get_by_role("button", name="Fetch 400 kB").click()
    expect(page.get_by_text("the models are in use now")).to_be_visible()
    assert (root / NAME).read_bytes() == DATA
    assert studio.backend.engine() is not before
    expect(table).to_contain_text("Head model (FLAME)")
    context.close()
