"""The named endpoints, through a real server and gradio's own client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, ValidationError
from PIL import Image

from arc2face.pictures.recipes import read_recipe

pytestmark = pytest.mark.server
Upload = Callable[[str], Any]
QUICK: dict[str, Any] = {"num_images": 1, "steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def client(studio: Any) -> Client:
    return studio.client()


def identity(client: Client, *photos: Any, **settings: Any) -> tuple[list[str], dict[str, Any]]:
    return client.predict(list(photos), **{**QUICK, **settings}, api_name="/generate_identity")


def digest(files: list[str]) -> list[str]:
    return [hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest() for path in files]


def test_every_endpoint_is_named_and_documented(client: Client) -> None:
    described: Any = client.view_api(return_format="dict", print_info=False)
    endpoints = described["named_endpoints"]
    wanted = {"/generate_identity", "/generate_pose", "/generate_expression", "/identify", "/read_expression"}
    series = {"/turntable", "/expression_strip", "/edit_expression", "/presets"}
    looking = {"/find_faces", "/compare", "/read_recipe", "/read_pose", "/normal_map", "/draw_person"}
    assert wanted | series | looking | {"/status", "/cancel"} <= set(endpoints)
    settings = {"num_images", "seed", "steps", "guidance_scale", "fast", "scheduler", "keep_best"}
    for name in ("/generate_identity", "/generate_pose", "/generate_expression"):
        parameters = {each["parameter_name"]: each for each in endpoints[name]["parameters"]}
        assert settings <= set(parameters)
        assert all(parameters[setting]["parameter_has_default"] for setting in settings)


def test_pictures_come_with_scores_and_recipes(client: Client, upload: Upload) -> None:
    files, answer = identity(client, upload("one"), num_images=2, guidance_scale=2.5)
    assert [each["seed"] for each in answer["pictures"]] == [7, 8]
    assert answer["stage"] == "done"
    recipe = read_recipe(Path(files[1]))
    assert recipe["settings"]["seed"] == 8
    assert recipe["settings"]["guidance_scale"] == 2.5
    assert "embedding" not in recipe["identity"]


def test_pictures_come_larger_where_that_is_asked_for(client: Client, upload: Upload) -> None:
    """Enlarged copies follow the pictures; another factor is refused before anything is computed."""
    files, answer = identity(client, upload("one"), enlarge=2)
    assert answer["enlarged"] == [Path(files[-1]).name]
    assert Image.open(files[-1]).width == 2 * Image.open(files[0]).width
    with pytest.raises(Exception, match="enlargement must be 2 or 4, not 3"):
        identity(client, upload("one"), enlarge=3)


def test_pictures_not_like_somebody_else(client: Client, upload: Upload) -> None:
    """Issue 14: guidance away from another person; without guidance that is refused."""
    _, plain = identity(client, upload("one"))
    _, away = identity(client, upload("one"), not_like=upload("other"), not_like_strength=0.5)
    assert away["recipe"]["negative"]["strength"] == 0.5 and "negative" not in plain["recipe"]
    with pytest.raises(Exception, match="takes guidance"):
        identity(client, upload("one"), not_like=upload("other"), guidance_scale=1)


def test_the_chosen_face_counts(client: Client, upload: Upload) -> None:
    largest, _ = identity(client, upload("two"))
    chosen, _ = identity(client, upload("two"), faces=[0])
    smaller, _ = identity(client, upload("two"), faces=[1])
    assert digest(largest) == digest(chosen) != digest(smaller)


def test_a_saved_identity_equals_its_photo(client: Client, upload: Upload) -> None:
    file, report = client.predict([upload("one")], api_name="/identify")
    assert report["photos"] == 1
    from gradio_client import handle_file

    from_file, _ = client.predict([], identity_file=handle_file(file), **QUICK, api_name="/generate_identity")
    assert digest(from_file) == digest(identity(client, upload("one"))[0])


def test_pose_by_angles_and_by_map_agree(client: Client, upload: Upload) -> None:
    from gradio_client import handle_file

    drawn = client.predict(30, 0, 0, api_name="/normal_map")
    by_angle, answer = client.predict([upload("one")], yaw=30, **QUICK, api_name="/generate_pose")
    by_map, _ = client.predict([upload("one")], normal_map=handle_file(drawn), **QUICK, api_name="/generate_pose")
    assert digest(by_angle) == digest(by_map) != digest(identity(client, upload("one"))[0])
    assert answer["recipe"]["pose"]["strength"] == 1


def test_expression_composes_with_look_pose_and_fast_mode(client: Client, upload: Upload) -> None:
    numbers = {"eyelids": {"left": 1.0}, "jaw": {"open": 0.3}}
    settings: dict[str, Any] = {**QUICK, "fast": True, "guidance_scale": 1.0}
    _, answer = client.predict(
        [upload("one")], expression=numbers, keep_look=0.8, turn_head=True, yaw=15, **settings,
        api_name="/generate_expression",
    )  # fmt: skip
    assert {"pose", "expression", "reference"} <= set(answer["recipe"])
    assert answer["recipe"]["expression"]["values"][50] == 1.0


def test_an_expression_is_read_with_named_parts(client: Client, upload: Upload) -> None:
    answer = client.predict(upload("other"), api_name="/read_expression")
    assert len(answer["components"]) == 50
    assert set(answer["jaw"]) == {"open", "side", "roll"}


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["nobody"], {}, "No face was found"),
        ([], {}, "Add a photo of a person first"),
        (["broken"], {}, "empty|not a picture"),
        (["one"], {"faces": [4]}, "no face number 5"),
        (["one"], {"faces": [0, 1]}, "one number per photo"),
        (["one"], {"steps": 1000}, "between 1 and 100, not 1000"),
        (["one"], {"steps": 9, "fast": True}, "between 1 and 8"),
        (["one"], {"num_images": 2.5}, "whole number"),
        (["one"], {"num_images": 0}, "between 1 and 8"),
        (["one"], {"guidance_scale": 99}, "between 1 and 10"),
        (["one"], {"seed": -1}, "seed"),
        (["one"], {"scheduler": "best"}, "must be dpm"),
        (["one"], {"method": "sum"}, "must be mean or median"),
        (["one"], {"keep_best": 3}, "pictures to keep"),
    ],
)
def test_bad_input_is_explained(
    client: Client, upload: Upload, names: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((AppError, ValidationError, ValueError, RuntimeError), match=message) as caught:
        identity(client, *(upload(name) for name in names), **settings)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"eyelids": {"left": 3.0}}, "between 0 and 1"),
        ([0.0] * 54, "55 numbers"),
        ({"jaw": {"wide": 1.0}}, "no 'wide'"),
        (None, "expression photo"),
    ],
)
def test_bad_expressions_are_explained(client: Client, upload: Upload, expression: Any, message: str) -> None:
    with pytest.raises(AppError, match=message):
        client.predict([upload("one")], expression=expression, **QUICK, api_name="/generate_expression")


def test_fast_mode_alone_takes_its_usual_settings(client: Client, upload: Upload) -> None:
    """F11: `fast=True` needs neither steps nor guidance."""
    _, answer = client.predict([upload("one")], fast=True, num_images=1, seed=7, api_name="/generate_identity")
    assert answer["recipe"]["settings"]["steps"] == 4
    assert answer["recipe"]["settings"]["guidance_scale"] == 1.0


def test_one_file_need_not_be_in_a_list(client: Client, upload: Upload) -> None:
    """F14."""
    alone, _ = client.predict(upload("one"), **QUICK, api_name="/generate_identity")
    assert digest(alone) == digest(identity(client, upload("one"))[0])


def test_an_identity_file_suffices(client: Client, upload: Upload) -> None:
    """F12: no photos with an identity file."""
    from gradio_client import handle_file

    file, _ = client.predict([upload("one")], api_name="/identify")
    files, _ = client.predict(identity_file=handle_file(file), **QUICK, api_name="/generate_identity")
    assert len(files) == 1


def test_a_turntable_comes_with_sheet_and_animation(client: Client, upload: Upload) -> None:
    files, answer = client.predict(
        [upload("one")], count=3, widest=20, steps=2, seed=7, api_name="/turntable"
    )  # fmt: skip
    assert [each["name"] for each in answer["pictures"]] == ["-20°", "0°", "20°"]
    assert [Path(file).suffix for file in files] == [".png", ".png", ".png", ".png", ".webp"]
    by_angle, _ = client.predict([upload("one")], yaw=-20, **QUICK, api_name="/generate_pose")
    assert digest(files[:1]) == digest(by_angle)


def test_a_strip_ends_at_the_expression(client: Client, upload: Upload) -> None:
    settings: dict[str, Any] = {"expression": {"jaw": {"open": 0.4}}, "steps": 2, "seed": 7}
    files, answer = client.predict([upload("one")], count=3, **settings, api_name="/expression_strip")
    assert [each["name"] for each in answer["pictures"]] == ["0%", "50%", "100%"]
    whole, _ = client.predict([upload("one")], num_images=1, **settings, api_name="/generate_expression")
    assert digest(files[2:3]) == digest(whole)


def test_a_strip_of_target_photos_has_one_picture_each(client: Client, upload: Upload) -> None:
    """What the page's strip can do with photos, the endpoint can."""
    targets = [upload("one"), upload("other")]
    files, answer = client.predict([upload("one")], targets=targets, steps=2, seed=7, api_name="/expression_strip")
    assert [each["name"] for each in answer["pictures"]] == ["one", "other"]
    assert len(files) == 4


def test_faces_recipes_and_likeness_are_read(client: Client, upload: Upload, tmp_path: Path) -> None:
    """F14: what the page shows of a picture, an endpoint says."""
    from gradio_client import handle_file

    drawn, found = client.predict(upload("two"), api_name="/find_faces")
    assert [face["face"] for face in found["faces"]] == [0, 1]
    assert found["faces"][0]["box"][2] < found["faces"][1]["box"][0]
    assert Image.open(drawn).size == (found["width"], found["height"]) == (420, 256)
    same = client.predict(upload("two"), photos=[upload("one")], api_name="/compare")
    other = client.predict(upload("two"), face=1, photos=[upload("one")], api_name="/compare")
    assert same["similarity"] > 0.9 > other["similarity"]
    files, answer = identity(client, upload("one"))
    assert client.predict(handle_file(files[0]), api_name="/read_recipe")["settings"]["seed"] == 7
    with pytest.raises(AppError, match="no recipe"):
        client.predict(upload("one"), api_name="/read_recipe")
    assert answer["pictures"][0]["similarity"] is not None


def test_what_needs_a_picture_says_so(client: Client, upload: Upload) -> None:
    for name in ("/find_faces", "/compare", "/read_recipe", "/read_pose", "/read_expression"):
        with pytest.raises(AppError, match=r"Give a (picture|photo)"):
            client.predict(api_name=name)
    with pytest.raises(AppError, match="No face was found"):
        client.predict(upload("nobody"), api_name="/find_faces")


def test_somebody_new_is_drawn_by_seed(client: Client) -> None:
    first, answer = client.predict(100_003, api_name="/draw_person")
    again, _ = client.predict(100_003, api_name="/draw_person")
    assert answer == {"seed": 100_003}
    assert digest([first]) == digest([again])
    assert Image.open(first).size == (384, 384)


def test_a_normal_map_can_wear_an_expression(client: Client) -> None:
    plain = client.predict(20, 0, 0, api_name="/normal_map")
    open_mouth = client.predict(20, 0, 0, expression={"jaw": {"open": 0.5}}, api_name="/normal_map")
    assert digest([plain]) != digest([open_mouth])
    with pytest.raises(AppError, match="no 'wide'"):
        client.predict(20, 0, 0, expression={"jaw": {"wide": 0.5}}, api_name="/normal_map")


def test_expressions_are_edited_in_one_order(client: Client, upload: Upload) -> None:
    """Blend, amount, eyelids and jaw, clamp: the same numbers as the library's."""
    answer = client.predict(preset="Mouth open", amount=1.5, left_eyelid=0.4, api_name="/edit_expression")
    assert answer["jaw"]["open"] == pytest.approx(0.45)
    assert answer["eyelids"] == {"left": pytest.approx(0.4), "right": 0}
    names = client.predict(api_name="/presets")
    assert names["Mouth open"]["jaw"]["open"] == pytest.approx(0.3)


def test_results_are_pasted_back_into_the_photo(client: Client, upload: Upload) -> None:
    wanted: dict[str, Any] = {"expression": {"jaw": {"open": 0.3}}, "keep_look": 0.8, "paste_back": "face"}
    files, answer = client.predict([upload("one")], **wanted, **QUICK, api_name="/generate_expression")
    assert len(files) == 2
    assert answer["pasted"] == [Path(files[1]).name]
    assert Image.open(files[1]).size == Image.open(upload("one")["path"]).size
    with pytest.raises(AppError, match="look kept"):
        client.predict([upload("one")], **{**wanted, "keep_look": 0}, **QUICK, api_name="/generate_expression")


@pytest.mark.parametrize("yaw", [100.0, 1e9])
def test_angles_beyond_the_range_are_refused(client: Client, yaw: float) -> None:
    """F13: refused, not clamped."""
    with pytest.raises(ValidationError, match="between -75 and 75"):
        client.predict(yaw, 0, 0, api_name="/normal_map")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_images", "5"),
        ("steps", ""),
        ("seed", "\x00"),
        ("guidance_scale", True),
        ("steps", [4]),
    ],
)
def test_what_is_no_number_is_refused_in_words(client: Client, upload: Upload, name: str, value: Any) -> None:
    """K1: never an internal error."""
    with pytest.raises((AppError, ValidationError), match=r"must (be a whole number|lie) between"):
        client.predict([upload("one")], **{**QUICK, name: value}, api_name="/generate_identity")


def test_missing_licensed_files_are_named(client: Client, upload: Upload) -> None:
    with pytest.raises(AppError, match=r"flame\.is\.tue\.mpg\.de"):
        client.predict([upload("one")], reference=upload("other"), **QUICK, api_name="/generate_pose")
    identity(client, upload("one"))  # the other endpoints keep working


def test_which_photo_lacks_a_face_is_said(client: Client, upload: Upload) -> None:
    with pytest.raises(AppError, match="expression photo"):
        client.predict([upload("one")], expression_photo=upload("nobody"), **QUICK, api_name="/generate_expression")


def test_clients_at_once_get_what_they_get_alone(studio: Any, upload: Upload) -> None:
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("one", {"steps": 4}),
        ("other", {"steps": 3, "fast": True, "guidance_scale": 1.0, "seed": 11}),
        ("one", {"steps": 3, "scheduler": "euler", "seed": 2}),
        ("two", {"steps": 2, "faces": [1]}),
    ]
    alone = [digest(identity(studio.client(), upload(name), **settings)[0]) for name, settings in wanted]
    clients = [studio.client() for _ in wanted]
    together: dict[int, list[str]] = {}

    def visit(number: int) -> None:
        name, settings = wanted[number]
        together[number] = digest(identity(clients[number], upload(name), **settings)[0])

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(len(wanted))] == alone


def test_cancel_stops_this_client_only(studio: Any, upload: Upload) -> None:
    mine, other = studio.client(), studio.client()
    running = mine.submit([upload("one")], num_images=8, steps=100, seed=1, api_name="/generate_identity")
    for _, progress in running:
        if progress and progress["stage"] == "denoising":
            break
    assert other.predict(api_name="/cancel") == {"stopped": 0}
    waiting = other.submit([upload("one")], **QUICK, api_name="/generate_identity")
    assert mine.predict(api_name="/cancel") == {"stopped": 1}
    with pytest.raises(AppError, match="Stopped"):
        running.result(timeout=120)
    assert waiting.result(timeout=120)[1]["stage"] == "done"


def test_progress_counts_steps_and_the_queue(studio: Any, upload: Upload) -> None:
    first, second = studio.client(), studio.client()
    ahead = first.submit([upload("one")], num_images=8, steps=100, api_name="/generate_identity")
    for _, progress in ahead:
        if progress and progress["stage"] == "denoising":
            break
    behind = second.submit([upload("one")], **QUICK, api_name="/generate_identity")
    seen: list[dict[str, Any]] = []
    for _, progress in behind:
        seen.append(progress)
        if progress["stage"] == "queued" and progress["queue_position"] > 0:
            first.predict(api_name="/cancel")
    assert any(each["queue_position"] > 0 for each in seen)
    assert seen[-1]["stage"] == "done"
    with pytest.raises(AppError, match="Stopped"):
        ahead.result(timeout=120)


def test_status_lists_parts_with_remedies_and_no_paths_of_the_server(studio: Any, client: Client) -> None:
    """F14."""
    answer = client.predict(api_name="/status")
    assert answer["ready"] is True
    assert answer["kind"] == "tiny"
    states = {part["name"]: part["state"] for part in answer["components"]}
    assert "unet" in states
    assert all(part["remedy"] for part in answer["components"] if part["state"] == "missing")
    assert str(studio.backend.engine().models.root) not in json.dumps(answer)


def test_nothing_grows_over_repeated_requests(studio: Any, upload: Upload) -> None:
    registry = studio.backend.engine().registry

    def batch() -> tuple[Any, ...]:
        for seed in range(3):
            client = studio.client()
            identity(client, upload("one"), seed=seed, fast=True, guidance_scale=1.0)
            client.predict([upload("one")], yaw=10, **QUICK, api_name="/generate_pose")
        queue = studio.page._queue
        processors = [type(each) for each in registry.part("unet").attn_processors.values()]
        return (threading.active_count() > 200, len(queue.event_ids_to_events), processors, sorted(registry.snapshot()))

    assert batch() == batch()
