"""The page's own logic, without a server."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from arc2face import advice
from arc2face.advice import command
from arc2face.doctor.component import ComponentStatus
from arc2face.errors import CancelledError, ExpressionError, NoFaceError, StorageError
from arc2face.expression.values import from_parts
from arc2face.sources import Mixed
from arc2face.types import GenerationRequest, IdentityEmbedding, Progress
from arc2face_app.page import markup
from arc2face_app.page.parts.expression_edit import Edit, clay, numbers
from arc2face_app.page.tabs.models import models_table
from arc2face_app.runs.errors import errors_shown, explain
from arc2face_app.runs.files import SessionFiles, zip_files
from arc2face_app.runs.pictures import Picture
from arc2face_app.runs.runner import overall
from arc2face_app.runs.tickets import JobBook

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


def test_a_visitor_stops_one_tab_and_a_newer_run_takes_its_place() -> None:
    """F9, F2: Stop ends the run of its tab; a second run in the same tab replaces the first."""
    book, pose, first, second = JobBook(), Recorder(), Recorder(), Recorder()
    with book.ticket("anna", "Pose") as turning, book.ticket("anna", "Identity") as ticket:
        turning.attach(pose)
        ticket.attach(first)
        assert book.cancel("anna", "Identity") == 1
        assert (pose.stopped, first.stopped) == (0, 1)
        assert not ticket.replaced
        with book.ticket("anna", "Pose") as newer:
            newer.attach(second)
            assert turning.replaced
            assert newer.before == (turning,)
            assert (pose.stopped, second.stopped) == (1, 0)


def test_a_job_attached_to_a_stopped_ticket_stops_at_once() -> None:
    book, late = JobBook(), Recorder()
    with book.ticket("anna") as ticket:
        book.cancel("anna")
        ticket.attach(late)
        assert late.stopped == 1


def test_edits_step_back_one_control_at_a_time() -> None:
    edit = start = Edit().from_source(SMILE, 1.0, 0.5)
    for opening in (0.3, 0.4, 0.5):
        edit = edit.shaped(Mixed(jaw_open=opening), "jaw_open")
    assert edit.now[52] == pytest.approx(0.5)
    assert edit.back().now == edit.back().base == start.now
    assert edit.back().back().now == Edit().now
    assert Edit().back() == Edit()


def test_amount_and_blend_start_from_the_sources() -> None:
    edit = Edit().from_source(SMILE, 1.0, 0.5).mixed(0.5, 0.5, "amount")
    assert np.allclose(edit.now, SMILE.values / 2, atol=1e-6)
    other = from_parts([3.0])
    both = Edit().from_source(SMILE, 1.0, 0.5).with_other(other, 1.0, 0.25)
    assert np.allclose(both.now, SMILE.values * 0.75 + other.values * 0.25, atol=1e-6)
    assert both.with_other(None, 1.0, 0.25).now == numbers(SMILE)


def test_the_amount_multiplies_what_was_set_by_hand() -> None:
    """F1: sliders, recipes and files become the base that the amount starts from."""
    edit = Edit().shaped(Mixed(jaw_open=0.5), "jaw_open").shaped(Mixed(left_eyelid=0.7), "left_eyelid")
    more = edit.mixed(1.2, 0.5, "amount")
    assert more.now[50] == pytest.approx(0.84)
    assert more.now[52] == pytest.approx(0.6)
    assert more.mixed(1.0, 0.5, "amount").now == edit.now
    loaded = Edit().to(SMILE, "file").mixed(0.5, 0.5, "amount")
    assert np.allclose(loaded.now, SMILE.values / 2, atol=1e-6)


def test_one_edit_leaves_every_other_number_alone() -> None:
    """C9: moving one slider or editing one cell does not round the rest."""
    exact = from_parts([k / 7 for k in range(-7, 7)], (0.12345, 0.98765), (0.123456, 0.01234, -0.04321))
    edit = Edit().from_source(exact, 1.0, 0.5)
    moved = edit.shaped(Mixed(jaw_open=0.3), "jaw_open")
    assert moved.now[:52] == edit.now[:52]
    assert moved.now[53:] == edit.now[53:]
    rows = edit.table
    rows[0][3] = 2.5
    celled = edit.with_table(rows)
    assert celled.now[3] == 2.5
    assert celled.now[:3] + celled.now[4:] == edit.now[:3] + edit.now[4:]
    with pytest.raises(ExpressionError, match="a number, not 'abc'"):
        edit.with_table([["abc", *rows[0][1:]], *rows[1:]])


def test_clay_is_lit_and_leaves_the_ground_transparent() -> None:
    normals = np.full((4, 4, 3), 127, np.uint8)
    normals[1, 1] = (127, 127, 255)
    picture = clay(normals)
    assert picture.shape == (4, 4, 4)
    assert picture[0, 0, 3] == 0
    assert picture[1, 1, 3] == 255
    assert picture[1, 1, :3].min() > 100


def test_captions_are_honest() -> None:
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
    """F8: nothing is said twice, and a lone visitor waits for nobody."""
    assert markup.progress_words(Progress("queued", queue_position=1)) == "Waiting: yours is next"
    assert markup.progress_words(Progress("queued", queue_position=2)) == "Waiting: place 2 in the line"
    assert markup.progress_words(Progress("denoising", 8, 25, message="Step 8 of 25")) == "Drawing: step 8 of 25"
    series = overall(Progress("denoising", 8, 25, message="Step 8 of 25"), 1, 7)
    assert markup.progress_words(series) == "Picture 2 of 7: step 33 of 175"
    text = markup.progress(Progress("denoising", 3, 12, seconds_left=95.0))
    assert "step 3 of 12" in text
    assert 'aria-valuenow="25"' in text
    assert "about 2 min left" in text


def test_text_from_outside_is_escaped() -> None:
    row = ComponentStatus("a", "<script>", "missing", source="<b>", remedy="arc2face download pose")
    table = models_table([row])
    assert "<script>" not in table
    assert command("download pose") in table
    assert "<img" not in markup.failure("<img src=x>")


def test_commands_are_the_ones_that_work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F7: a checkout has no program of that name until it is installed."""
    text = "Run: arc2face download pose. The package arc2face stays arc2face."
    monkeypatch.setenv("PATH", str(tmp_path))
    advice.kind.cache_clear()
    assert advice.spoken(text) == "Run: ./run cli download pose. The package arc2face stays arc2face."
    assert explain(NoFaceError(text)) == advice.spoken(text)
    (tmp_path / "arc2face").write_text("#!/bin/sh\n")
    (tmp_path / "arc2face").chmod(0o755)
    advice.kind.cache_clear()
    assert advice.spoken(text) == text
    advice.kind.cache_clear()


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
