"""What is kept of a visitor's runs: on the server until the page closes, and in the folder that `--outputs` names."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arc2face.errors import InputError, SettingsError, StorageError
from arc2face.pictures.recipes import recipe_png
from arc2face.types import GenerationRequest, GenerationResult, IdentityEmbedding, Progress
from arc2face_app.cli.serve import read_settings
from arc2face_app.page.parts import results
from arc2face_app.page.parts.board import entry, ids_of, settings_of
from arc2face_app.runs.outputs import Outputs
from arc2face_app.runs.pace import Pace, steadied
from arc2face_app.runs.pictures import Picture, Run
from arc2face_app.runs.store import MAX_RUNS, RunStore
from arc2face_app.settings import ServerSettings


def run_of(tab: str, count: int = 1) -> Run:
    return Run.now(tab, [Picture(f"{tab}-{k}.png", k, 0.5, True) for k in range(count)])


def saved(path: Path) -> Picture:
    path.write_bytes(recipe_png(np.zeros((8, 8, 3), np.uint8), {"settings": {"seed": 3}, "models": {"unet": "abc"}}))
    return Picture(str(path), 3, 0.5, True, size=(8, 8))


def test_runs_that_finish_at_once_are_all_kept() -> None:
    """The history lost one of two runs that finished together in two tabs: each added to a stale copy of the list."""
    store, barrier = RunStore(), threading.Barrier(8)

    def add(number: int) -> None:
        barrier.wait()
        store.put("anna", run_of(f"tab {number}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.tab for run in store.runs("anna")} == {f"tab {number}" for number in range(8)}
    assert store.runs("ben") == ()


def test_a_list_is_bounded_and_goes_with_its_visitor() -> None:
    store = RunStore()
    for number in range(MAX_RUNS + 10):
        store.put("anna", run_of(str(number)))
    assert [run.tab for run in store.runs("anna")][:: MAX_RUNS - 1] == ["10", str(MAX_RUNS + 9)]
    store.forget("anna")
    assert store.runs("anna") == () and len(store) == 0


def test_removing_can_be_undone_and_names_from_browsers_are_checked() -> None:
    store, run = RunStore(), run_of("Pose", 3)
    store.put("anna", run)
    first, second, third = (picture.id for picture in run.pictures)
    store.put("ben", run_of("Pose"))
    assert store.remove("anna", [first, "../../etc/passwd", "x" * 10_000]) == 2
    assert [picture.id for _, picture in store.shown("anna")] == [second, third]
    store.favour("anna", [third, first, "nobody's"], True)
    assert store.is_favourite("anna", third) and not store.is_favourite("ben", third)
    store.restore("anna", [first])
    assert [picture.id for _, picture in store.shown("anna")] == [first, second, third]
    store.clear("anna", [second])
    assert store.is_cleared("anna", second) and second in [picture.id for _, picture in store.shown("anna")]
    store.restore("anna", [second])
    assert not store.is_cleared("anna", second)
    assert store.find("ben", first) is None
    assert ids_of({"ids": [first, 3, None, {"a": 1}]}) == [first] and ids_of({"ids": "abc"}) == []


def test_preview_and_time_left_cover_what_comes_after_the_steps() -> None:
    """U10: the preview stays while decoding and comparing; the next run's time left counts both."""
    now = [0.0]
    pace, preview = Pace(lambda: now[0]), np.zeros((2, 2, 3), np.uint8)

    def one_run() -> list[Progress]:
        def events() -> Any:
            yield Progress("denoising", 1, 2, seconds_left=3.0, preview=preview, message="Step 1 of 2")
            yield Progress("denoising", 2, 2, seconds_left=0.0, message="Step 2 of 2")
            now[0] += 1.0
            yield Progress("decoding")
            now[0] += 3.0
            yield ()

        return [event for event in steadied(events(), pace, lambda: 2) if isinstance(event, Progress)]

    assert [event.seconds_left for event in one_run()] == [3.0, 0.0, None]
    again = one_run()
    assert [event.seconds_left for event in again] == [7.0, 4.0, 3.0]
    assert all(event.preview is preview for event in again)


def test_what_a_run_has_to_say_stands_under_its_pictures() -> None:
    """The page showed nothing of `recipe["notes"]`."""
    request = GenerationRequest(identity=IdentityEmbedding(np.ones(512, np.float32)), num_images=1)
    result = GenerationResult((), request, {"notes": ["Too few steps for <b>this</b>."]})
    text = results._summary(run_of("Pose").pictures, (result, result))
    assert text.count("Too few steps for &lt;b&gt;this") == 1
    assert 'class="note warn"' in text


def test_pictures_that_come_later_join_their_run() -> None:
    """U17: pasted pictures stand in the same run."""
    store, run = RunStore(), run_of("Expression", 2)
    store.put("anna", run)
    store.put("anna", run.with_more([Picture("full.png", 0, 0.5, True, "Pasted 1")]))
    (kept,) = store.runs("anna")
    assert [picture.name for picture in kept.pictures] == ["", "", "Pasted 1"]


def test_what_browsers_remember_holds_settings_and_no_hashes(tmp_path: Path) -> None:
    picture = saved(tmp_path / "a.png")
    known = entry(Run.now("Pose", [picture], "anna.jpg"), picture)
    assert (known["person"], known["tab"], known["size"]) == ("anna.jpg", "Pose", [8, 8])
    assert settings_of(picture.path) == {"settings": {"seed": 3}}
    (tmp_path / "a.png").unlink()
    assert settings_of(picture.path) == {}


def test_an_outputs_folder_keeps_copies_and_never_overwrites(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "out")
    source = saved(tmp_path / "identity-1.png")
    names = [outputs.keep([source])[0].saved for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert outputs.find(name).read_bytes() == Path(source.path).read_bytes()
    outputs.remove(names[0])
    outputs.remove(names[0])
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 2
    outputs.put_back(names[0], Path(source.path))
    assert outputs.find(names[0]).is_file()
    assert Outputs(None).keep([source])[0].saved == ""


@pytest.mark.parametrize("name", ["", "../secret.png", "/etc/passwd", "nobody.png", "2026/../../secret.png", "a\0.png"])
def test_a_name_from_a_browser_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    outputs = Outputs(tmp_path / "out")
    with pytest.raises(InputError, match="not in the outputs folder"):
        outputs.find(name)
    outputs.put_back("../new.png", tmp_path / "secret.png")
    assert not (tmp_path / "new.png").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="outputs folder"):
        Outputs(tmp_path / "file" / "out")
    for everything in (Path.home(), Path.home().parent, Path("/")):
        with pytest.raises(SettingsError, match="one of its own"):
            Outputs(everything)


@pytest.mark.parametrize(
    "shared",
    [
        {"host": "0.0.0.0"},
        {"hosts": ("faces.example",)},
        {"root_path": "/faces"},
        {"share": True, "auth": ("anna", "secret")},
    ],
)
def test_a_server_for_others_keeps_nothing(tmp_path: Path, shared: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="only this machine"):
        ServerSettings(outputs=tmp_path, **shared)


def test_the_folder_has_a_flag_and_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings([]).outputs is None
    assert read_settings(["--outputs", str(tmp_path)]).outputs == tmp_path
    monkeypatch.setenv("ARC2FACE_OUTPUTS", str(tmp_path / "b"))
    assert read_settings([]).outputs == tmp_path / "b"
