"""The page's own logic, without a server."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from app.page import markup
from app.page.parts import sequences
from app.page.parts.expression_edit import Edit, clay, expression_of, numbers
from app.page.parts.settings import Settings
from app.page.tabs.models import models_table
from app.runs.errors import errors_shown, explain
from app.runs.files import SessionFiles, zip_files
from app.runs.pictures import Picture, Run, remember
from app.runs.runner import overall
from app.runs.tickets import JobBook
from arc2face.errors import CancelledError, NoFaceError, StorageError
from arc2face.expression.values import from_parts
from arc2face.types import ComponentStatus, GenerationRequest, IdentityEmbedding, Progress

REQUEST = GenerationRequest(identity=IdentityEmbedding(np.ones(512, np.float32)))
SMILE = from_parts([1.0, -2.0], (0.2, 0.4), (0.2, 0.0, 0.0))


class Recorder:
    def __init__(self) -> None:
        self.stopped = 0

    def cancel(self) -> None:
        self.stopped += 1


def test_known_errors_pass_and_unknown_ones_get_a_log_id(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gr.Error, match="no face there"), errors_shown():
        raise NoFaceError("no face there")
    with caplog.at_level(logging.ERROR, "arc2face.app"):
        text = explain(KeyError("/secret/path"))
    incident = text.rstrip(".").split()[-1]
    assert "secret" not in text
    assert incident in caplog.text
    assert "KeyError" in caplog.text


def test_a_visitor_stops_only_what_is_theirs() -> None:
    book, mine, other = JobBook(), Recorder(), Recorder()
    with book.ticket("anna") as ticket, book.ticket("ben") as second:
        ticket.attach(mine)
        second.attach(other)
        assert book.cancel("anna") == 1
        assert (mine.stopped, other.stopped) == (1, 0)
        with pytest.raises(CancelledError):
            ticket.check()
    assert len(book) == 0


def test_a_job_attached_to_a_stopped_ticket_stops_at_once() -> None:
    book, late = JobBook(), Recorder()
    with book.ticket("anna") as ticket:
        book.cancel("anna")
        ticket.attach(late)
        assert late.stopped == 1


def test_settings_keep_whole_numbers_and_roll_a_seed() -> None:
    settings = Settings.of(4.0, True, False, 12.0, 4, 1, "dpm++", 8)
    assert settings.fields["seed"] == 12
    assert settings.keep_best == 4
    overtaken = Settings.of(4, True, False, 12, 25, 3.0, "dpm++", 0)
    assert (overtaken.steps, overtaken.guidance_scale) == (4, 1.0)
    assert Settings.of(1, False, True, None, 25, 3, "dpm++", 0).seed < 1_000_000


def test_edits_step_back_one_control_at_a_time() -> None:
    edit = start = Edit().from_source(SMILE, 1.0, 0.5)
    for opening in (0.3, 0.4, 0.5):
        edit = edit.with_lids_and_jaw(0.2, 0.4, opening, 0.0, 0.0, "opening")
    assert edit.lids_and_jaw[2] == pytest.approx(0.5)
    assert edit.back().now == start.now
    assert edit.back().back().now == Edit().now
    assert Edit().back() == Edit()


def test_amount_and_blend_start_from_the_sources() -> None:
    edit = Edit().from_source(SMILE, 1.0, 0.5).mixed(0.5, 0.5, "amount")
    assert np.allclose(edit.now, SMILE.values / 2, atol=1e-6)
    other = from_parts([3.0])
    both = Edit().from_source(SMILE, 1.0, 0.5).with_other(other, 1.0, 0.25)
    assert np.allclose(both.now, SMILE.values * 0.75 + other.values * 0.25, atol=1e-6)
    assert both.with_other(None, 1.0, 0.25).now == numbers(SMILE)


def test_components_survive_their_table() -> None:
    edit = Edit().from_source(SMILE, 1.0, 0.0)
    flat = [value for row in edit.table for value in row]
    assert np.allclose(expression_of(edit.with_components(flat).now).values, SMILE.values, atol=1e-3)


def test_clay_is_lit_and_leaves_the_ground_transparent() -> None:
    normals = np.full((4, 4, 3), 127, np.uint8)
    normals[1, 1] = (127, 127, 255)
    picture = clay(normals)
    assert picture.shape == (4, 4, 4)
    assert picture[0, 0, 3] == 0
    assert picture[1, 1, 3] == 255
    assert picture[1, 1, :3].min() > 100


def test_history_is_bounded_and_captions_are_honest() -> None:
    history: tuple[Run, ...] = ()
    for number in range(60):
        history = remember(history, Run.now("Identity", [Picture("a.png", number, 0.5, True)]))
    assert len(history) == 50
    assert history[-1].pictures[0].seed == 59
    assert Picture("a.png", 1, None, False).caption == "No face found · seed 1"
    assert Picture("a.png", 1, 0.456, True).caption == "Similarity 0.46 · seed 1"
    assert Picture("a.png", 1, 0.456, True, "30°").caption == "30° · 0.46"


def test_progress_over_a_series() -> None:
    event = Progress("denoising", 2, 4, seconds_left=1.0)
    whole = overall(event, 1, 3)
    assert (whole.step, whole.total) == (6, 12)
    assert whole.seconds_left == pytest.approx(1.0 + 2.0)
    assert overall(event, 0, 1) is event


def test_progress_is_said_in_words() -> None:
    assert markup.progress_words(Progress("queued", queue_position=2)) == "Waiting: 2 requests before yours"
    text = markup.progress(Progress("denoising", 3, 12, seconds_left=95.0))
    assert "step 3 of 12" in text
    assert 'aria-valuenow="25"' in text
    assert "about 2 min left" in text


def test_text_from_outside_is_escaped() -> None:
    row = ComponentStatus("a", "<script>", "missing", source="<b>", remedy="arc2face download pose")
    table = models_table([row])
    assert "<script>" not in table
    assert "arc2face download pose" in table
    assert "<img" not in markup.failure("<img src=x>")


def test_contact_sheet() -> None:
    frames = [np.full((16, 12, 3), 40 * k, np.uint8) for k in range(6)]
    sheet = sequences.contact_sheet(frames, columns=4)
    assert sheet.shape == (2 * 16 + sequences.GAP, 4 * 12 + 3 * sequences.GAP, 3)
    assert (sheet[:16, :12] == 0).all()


def test_a_zip_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    one = tmp_path / "one.png"
    one.write_bytes(b"x")
    with zipfile.ZipFile(zip_files([one], tmp_path / "all.zip")) as archive:
        assert archive.namelist() == ["one.png"]
    with pytest.raises(StorageError, match="disk space"):
        zip_files([tmp_path / "missing.png"], tmp_path / "broken.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "all.zip"}


def test_a_full_or_forbidden_disk_is_said(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match="could not be saved"):
        SessionFiles(blocked).new_run("anna")
