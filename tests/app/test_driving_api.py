"""Endpoints of the Video and Group tabs, through a real server and gradio's own client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, ValidationError
from PIL import Image

from arc2face.pictures.recipes import read_recipe
from tests.test_blendshapes import write
from tests.videos import face, nobody, uneven

pytestmark = pytest.mark.server
Upload = Callable[[str], Any]
QUICK: dict[str, Any] = {"steps": 1, "seed": 7}


@pytest.fixture(scope="module")
def client(studio: Any) -> Client:
    return studio.client()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uneven(tmp_path_factory.mktemp("clip") / "clip.gif", [face(54), face(64), face(74)], [250] * 3)


def test_a_video_becomes_a_film_and_is_made_once(client: Client, upload: Upload, clip: Path) -> None:
    """Point 7: one seed, one picture per frame, the film last; the same call finds what is there."""
    asked: dict[str, Any] = {"photos": [upload("one")], "video": handle_file(str(clip)), "rate": 4, **QUICK}
    files, answer = client.predict(**asked, api_name="/drive")
    assert answer["stage"] == "done" and answer["complete"] and answer["frames"] == 3
    assert [row["time"] for row in answer["pictures"]] == pytest.approx([0.0, 0.25, 0.5])
    assert {row["seed"] for row in answer["pictures"]} == {7} and all(row["made"] for row in answer["pictures"])
    assert len(files) == 4 and Path(files[-1]).name == answer["film"]
    assert "expression" in read_recipe(Path(files[0]))
    again, told = client.predict(**asked, api_name="/drive")
    assert not any(row["made"] for row in told["pictures"])
    assert [Path(path).read_bytes() for path in again[:3]] == [Path(path).read_bytes() for path in files[:3]]


def test_what_cannot_drive_is_refused(client: Client, upload: Upload, clip: Path, tmp_path: Path) -> None:
    """Bad input: nothing or two things that move, no face, a head without names, numbers out of range."""
    video = handle_file(str(clip))
    table = handle_file(str(write(tmp_path / "face.csv", ["time"], [{"time": 0}])))
    empty = handle_file(str(uneven(tmp_path / "no.gif", [nobody(), nobody() // 2], [250, 250])))
    for fields, words in (
        ({}, "Say what moves"),
        ({"video": video, "blendshapes": table}, "Say what moves"),
        ({"video": empty, "rate": 4}, "No face was found in any of the 2 frames"),
        ({"video": upload("one")}, "is no video"),
        ({"blendshapes": table}, "lacks 51 of ARKit's 52 names"),
        ({"video": video, "start": 2, "end": 1}, "after the start"),
        ({"video": video, "paste_back": "face"}, "look kept"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(photos=[upload("one")], **fields, **QUICK, api_name="/drive")
    with pytest.raises(ValidationError, match=r"between 0\.5 and 30"):
        client.predict(photos=[upload("one")], video=video, rate=99, api_name="/drive")


def test_each_person_of_a_group_changes(client: Client, upload: Upload, photos: dict[str, Path]) -> None:
    """Point 8: two pictures, and the photo with both pasted in at its own size."""
    wishes = [{"face": 0, "preset": "Mouth open"}, {"face": 1, "photo": 0}]
    files, answer = client.predict(
        photo=upload("two"), wishes=wishes, expression_photos=[upload("one")], **QUICK, api_name="/group_expressions"
    )
    assert len(files) == 3 and answer["faces"] == [0, 1] and Path(files[2]).name == answer["group"] == "group.png"
    before, after = (np.asarray(Image.open(path).convert("RGB")) for path in (photos["two"], files[2]))
    assert before.shape == after.shape and not np.array_equal(before, after)
    for bad, words in (
        ([], "at least one person"),
        ([{"face": 0}], "needs a preset"),
        ([{"face": 0, "preset": "Yawn"}] * 2, "two expressions"),
        ([{"face": 0, "photo": 3}], "between 0 and 0"),
        ([{"face": 0, "hat": 1}], "no 'hat'"),
        ({"face": 0}, "one object per person"),
        ([{"face": "0", "preset": "Yawn"}], "A face number"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(photo=upload("two"), wishes=bad, **QUICK, api_name="/group_expressions")


def test_one_face_from_several(client: Client, upload: Upload) -> None:
    """Point 8: lids with the eyes, jaw with the mouth; the answer is an expression like any other."""
    mixed = client.predict(
        preset="Mouth open", eyes_preset="Eyes closed", brows_photo=upload("one"), api_name="/mix_expressions"
    )
    assert mixed["eyelids"] == {"left": 1.0, "right": 1.0}
    assert mixed["jaw"]["open"] == pytest.approx(0.3)
    assert mixed["exact"] is False and set(mixed["fit"]) == {"eyes", "brows"}
    assert client.predict(expression=mixed, api_name="/edit_expression")["jaw"] == mixed["jaw"]
    with pytest.raises(AppError, match="which part comes from where"):
        client.predict(preset="Yawn", api_name="/mix_expressions")
