"""The Studio tab: a small set planned, drawn, looked at, thinned out and exported; and where there is no such tab."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import expect

from arc2face.errors import InputError, SettingsError
from arc2face.faces.identities import save_identity
from arc2face.types import IdentityEmbedding, Progress
from arc2face_app.cli.serve import read_settings
from arc2face_app.runs import datasets
from arc2face_app.runs.datasets import ABOVE, MAX_EACH, NEW, SEVERAL, Wanted
from arc2face_app.runs.files import SessionFiles
from arc2face_app.runs.shell import Shell
from arc2face_app.settings import ServerSettings
from tests.app.walk import add_photo, browser, few_steps, set_number, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytest.importorskip("pyarrow")


def test_a_shared_page_has_no_studio_unless_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerSettings().has_studio
    assert not ServerSettings(host="0.0.0.0").has_studio
    assert ServerSettings(host="0.0.0.0", studio="on").has_studio
    assert not read_settings(["--studio", "off"]).has_studio
    with pytest.raises(SettingsError, match="studio"):
        ServerSettings(studio="perhaps")  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert not ServerSettings(studio="on").has_studio


def test_a_set_of_a_page_is_small() -> None:
    with pytest.raises(SettingsError, match="at most 64 people and 512 pictures"):
        Wanted(who=NEW, count=40, pictures=MAX_EACH).check()
    with pytest.raises(InputError, match="one for each person"):
        Wanted(who=SEVERAL).check()
    Wanted(who=ABOVE, pictures=MAX_EACH).check()


def test_the_plan_shows_every_turn_and_expression() -> None:
    wanted = Wanted(who=ABOVE, pictures=4, poses=("Left", "Up"), expressions=("Yawn", "Sleepy"))
    found = {datasets.shows(wish) for wish in datasets.wishes_of(wanted, None)}
    assert found == {"Left · Yawn", "Left · Sleepy", "Up · Yawn", "Up · Sleepy"}


@pytest.mark.server
def test_people_from_files_are_drawn_and_stay_where_a_run_was_stopped(studio: Any, tmp_path: Path) -> None:
    """Two saved identities of one name: both are there; Stop keeps who is finished, and a shard is a person."""
    rng, paths = np.random.default_rng(0), list[Path]()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "anna.npz"
        save_identity(path, IdentityEmbedding((20 * rng.standard_normal(512) / 22.6).astype(np.float32)))
        paths.append(path)
    with gr.Blocks():
        shell = Shell(backend=studio.backend, history=gr.State(0), files=SessionFiles(tmp_path / "files"))
    wanted = Wanted(who=SEVERAL, files=tuple(paths), pictures=2)
    events = datasets.follow(shell, "anna", wanted, "Studio")
    for event in events:
        if isinstance(event, Progress) and event.message.startswith("Drawing person 2"):
            shell.jobs.cancel("anna", "Studio")
    drawn = event  # pyright: ignore[reportPossiblyUnboundVariable]
    assert isinstance(drawn, datasets.DrawnSet)
    assert drawn.asked == 4 and len(drawn.tiles) + len(drawn.failed) >= 2
    assert {one.person for one in drawn.tiles} <= {"anna", "anna-2"} and "anna" in {one.person for one in drawn.tiles}
    assert all(Path(one.file).is_file() for one in drawn.tiles)
    whole = datasets.export_zip(drawn, datasets.WHOLE, (), None, tmp_path / "set.zip")
    assert {"plan.json", "identities.npz", "shards/00000.tar"} <= set(zipfile.ZipFile(whole).namelist())


@pytest.mark.server
@pytest.mark.browser
def test_a_set_is_planned_drawn_and_saved(visit: Any, photos: dict[str, Path]) -> None:
    """Preview and cost follow the form; a picture that is left out does not go out."""
    page = visit()
    add_photo(page, photos["one"])
    expect(shown(page.get_by_text("1 face found"))).to_be_visible()
    page.get_by_role("tab", name="Studio").click()
    expect(page.locator(".set-plan .cell")).to_have_count(6)
    set_number(page, "Pictures of each person", "3")
    expect(page.locator(".set-plan .cell")).to_have_count(3)
    expect(shown(page.get_by_text("1 person · 3 pictures"))).to_be_visible()
    few_steps(page)
    shown(page.get_by_role("button", name="Draw the set")).click()
    tiles = page.locator(".set-board .picture")
    expect(tiles).to_have_count(3)
    expect(shown(page.locator(".summary"))).to_contain_text("3 of 3 pictures")
    tiles.nth(1).get_by_role("button").click()
    expect(tiles.nth(1)).to_have_attribute("data-out", "true")
    expect(shown(page.locator(".summary"))).to_contain_text("2 of 3 pictures")
    with page.expect_download() as download:
        shown(page.get_by_role("button", name="Download (.zip)")).click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert len([name for name in names if name.endswith(".png")]) == 2
