"""The command line on the tiny models: every command, its JSON, its exit codes, and no stack traces."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from arc2face.errors import InputError
from arc2face.expression.values import clamped
from arc2face.types import Expression
from arc2face_app.cli import main
from arc2face_app.cli.serve import read_settings
from tests.recipe3d import PICKLE, TEMPLATE, write_flame_pickle, write_template
from tests.smirk_weights import smirk_state
from tests.tiny_faces import blank, draw_face, write_antelopev2

PROJECT = Path(__file__).resolve().parent.parent
COMMANDS = ("app", "generate", "pose", "expression", "embed", "recipe", "doctor", "download", "train", "evaluate")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_tree: Path) -> Path:
    """The tiny tree with tiny face networks, and the synthetic head for angles."""
    root = Path(shutil.copytree(tiny_tree, tmp_path_factory.mktemp("cli") / "models"))
    write_antelopev2(root / "antelopev2")
    write_flame_pickle(root / "emoca" / PICKLE)
    write_template(root / "emoca" / TEMPLATE)
    (root / "smirk").mkdir()
    torch.save(smirk_state(), root / "smirk" / "SMIRK_em1.pt")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photos of one person and one of somebody else."""
    folder = tmp_path_factory.mktemp("photos")
    paths: list[Path] = []
    for index, person in enumerate([(40, 190, 60), (40, 190, 60), (200, 200, 0)]):
        picture = blank(300, 260)
        draw_face(picture, 120 + 5 * index, 150, 40, person)
        paths.append(folder / f"{index}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


@pytest.fixture
def run(models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in a private folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARC2FACE_MODELS", str(models))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def pixels(path: str | Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.array(picture)


def answer(outcome: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = outcome
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0 and f"arc2face {command}" in out


def test_no_command_shows_the_list(run: Run) -> None:
    _, out, err = run()
    assert all(command in out + err for command in COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from arc2face_app.cli import main\n"
        "main(['doctor', '--help']); main(['generate', '--help']); main(['download', '--list'])\n"
        "print([m for m in ('torch', 'numpy', 'gradio', 'diffusers', 'PIL', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    assert run("frobnicate")[0] == 2
    assert run("generate", "--count", "many")[0] == 2
    assert run("embed")[0] == 2
    assert run("download", "--precision", "double")[0] == 2


def test_generate_saves_pictures_with_recipes(run: Run, photos: list[Path], tmp_path: Path) -> None:
    found = answer(
        run("generate", *photos[:2], "-n", 2, "--seed", 7, "--steps", 2, "-o", "out", "--save-identity", "me", "--json")
    )
    assert [row["seed"] for row in found["images"]] == [7, 8]
    assert found["person"]["photos"] == 2 and len(found["person"]["cosines"]) == 2
    assert found["recipe"]["settings"]["steps"] == 2
    path = tmp_path / found["images"][0]["path"]
    assert Image.open(path).size == (128, 128)
    assert (tmp_path / "me.npz").is_file()

    recipe = json.loads(run("recipe", path)[1])
    assert recipe["settings"]["seed"] == 7 and "embedding" not in recipe["identity"]


def test_a_picture_can_be_made_again_from_its_recipe(run: Run, photos: list[Path]) -> None:
    first = answer(
        run("generate", photos[0], "-n", 1, "--seed", 3, "--steps", 1, "--no-score", "--embedding-in-recipe", "--json")
    )
    path = first["images"][0]["path"]
    again = answer(run("generate", "--recipe", path, "--json"))
    assert again["images"][0]["path"] != path
    assert np.array_equal(pixels(path), pixels(again["images"][0]["path"]))


def test_a_saved_identity_gives_the_same_pictures(run: Run, photos: list[Path]) -> None:
    assert run("embed", photos[0], "-o", "me.npz")[0] == 0
    settings = ("-n", 1, "--seed", 3, "--steps", 1, "--no-score", "--json")
    from_photo = answer(run("generate", photos[0], *settings))["images"][0]["path"]
    from_file = answer(run("generate", "--identity", "me.npz", *settings))["images"][0]["path"]
    assert np.array_equal(pixels(from_photo), pixels(from_file))


def test_fast_mode_has_its_own_defaults(run: Run, photos: list[Path]) -> None:
    found = answer(run("generate", photos[0], "--fast", "-n", 1, "--enlarge", 2, "--json"))
    settings, (row,) = found["recipe"]["settings"], found["images"]
    assert Image.open(row["enlarged"]).width == 2 * Image.open(row["path"]).width
    assert settings["steps"] == 4 and settings["guidance_scale"] == 1.0 and settings["fast"]


def test_pictures_not_like_somebody_else(run: Run, photos: list[Path]) -> None:
    """Issue 14: guidance away from another person, from a photo or a saved identity."""
    usual = ("generate", photos[0], "-n", 1, "--steps", 2, "--seed", 3, "--json")
    found = answer(run(*usual, "--not-like", photos[1], "--not-like-strength", 0.5))
    assert found["recipe"]["negative"]["strength"] == 0.5
    plain = answer(run(*usual))
    pixels = [np.asarray(Image.open(one["images"][0]["path"])) for one in (found, plain)]
    assert "negative" not in plain["recipe"] and (pixels[0] != pixels[1]).any()


def test_lines_for_people(run: Run, photos: list[Path]) -> None:
    code, out, err = run("generate", photos[0], "-n", 1, "--seed", 5, "--steps", 1, "-o", "out")
    assert code == 0 and out.startswith("out/face-5.png  seed 5") and "tiny random models" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate",), "Add a photo of a person first"),
        (("generate", "nothing.png"), "does not exist"),
        (("generate", "PHOTO", "--steps", "0"), "between 1 and 100"),
        (("generate", "PHOTO", "--guidance", "nan"), "guidance scale must lie between"),
        (("generate", "PHOTO", "--seed", "-1"), "seed must be a whole number"),
        (("generate", "PHOTO", "-n", "9"), "number of pictures"),
        (("generate", "PHOTO", "--fast", "--steps", "9"), "in fast mode"),
        (("generate", "PHOTO", "--size", "wide"), "A size is written"),
        (("generate", "PHOTO", "--size", "100"), "multiple of 8"),
        (("generate", "PHOTO", "--scheduler", "magic"), "scheduler must be dpm++"),
        (("generate", "PHOTO", "--enlarge", "3"), "enlargement must be 2 or 4"),
        (("generate", "PHOTO", "--fast", "--not-like", "PHOTO"), "takes guidance"),
        (("generate", "PHOTO", "--vram", "lots"), "VRAM policy must be resident"),
        (("generate", "PHOTO", "--device", "toaster"), "evice"),
        (("generate", "PHOTO", "--models", "nowhere"), "does not exist"),
        (("generate", "PHOTO", "--face", "1", "--face", "2"), "2 times for 1 photos"),
        (("generate", "GREY"), "face"),
        (("generate", "--identity", "GREY"), "identity"),
        (("pose", "PHOTO"), "Say which pose"),
        (("pose", "PHOTO", "--yaw", "5", "--normal-map", "GREY"), "Give one pose"),
        (("pose", "PHOTO", "--yaw", "200"), "between -75 and 75, not 200"),
        (("pose", "PHOTO", "--yaw", "5", "-o", "portrait.png"), "names a folder"),
        (("generate", "PHOTO", "-o", "GREY"), "folder"),
        (("pose", "PHOTO", "--turntable", "99"), "angles must be a whole number between 1 and 64"),
        (("expression", "PHOTO", "--preset", "grin"), "no preset 'grin'"),
        (("expression", "PHOTO", "--jaw-open", "3"), "between 0 and 0.9"),
        (("expression", "PHOTO", "--amplitude", "9"), "amplitude must lie between 0 and 1.5"),
        (("expression", "PHOTO", "--paste-back", "face"), "needs the photo's look kept"),
        (("expression", "PHOTO", "--strip", "1"), "amounts must be a whole number between 2 and 64"),
        (("expression", "PHOTO", "--target", "GREY"), "face"),
        (("pose", "PHOTO", "--pose-photo", "PHOTO"), "https://emoca.is.tue.mpg.de"),
        (("recipe", "GREY"), "carries no recipe"),
        (("train", "nothing", "--config", "none.yaml"), ""),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    run: Run, photos: list[Path], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    grey = tmp_path / "grey.png"
    Image.fromarray(blank(200, 200)).save(grey)
    named = {"PHOTO": photos[0], "GREY": grey}
    code, out, err = run(*(named.get(word, word) for word in words))
    assert code == 1 and "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_errors_are_json_where_json_was_asked_for(run: Run) -> None:
    code, out, _ = run("generate", "nothing.png", "--steps", "0", "--json")
    error = json.loads(out)["error"]
    assert code == 1 and error["type"] == "SettingsError" and "between 1 and 100" in error["message"]


def test_debug_shows_what_went_wrong(run: Run) -> None:
    with pytest.raises(InputError):
        run("generate", "--debug")


def test_embed_says_who_does_not_belong(run: Run, photos: list[Path]) -> None:
    found = answer(run("embed", photos[0], photos[1], photos[2], "--drop-outliers", "-o", "me.npy", "--json"))
    assert found["outliers"] == [2] and found["used"] == [0, 1] and len(found["cosines"]) == 3
    assert np.load("me.npy").shape == (512,)
    code, out, _ = run("embed", photos[0], "--compare", "me.npy")
    assert code == 0 and "agrees 1.000" in out and "me.npy  cosine 1.000" in out


def test_pose_from_angles_and_from_a_normal_map(run: Run, photos: list[Path], tmp_path: Path) -> None:
    only = answer(run("pose", "--yaw", 30, "--map-only", "--save-normal-map", "map.png", "--json"))
    assert only["images"] == [] and only["pose"]["yaw"] == 30
    turned = pixels("map.png")
    assert turned.shape == (128, 128, 3) and (turned == 127).all(axis=2).any() and turned.std() > 5

    words = ("-n", 1, "--seed", 1, "--steps", 1, "--no-score", "--json")
    by_angle = answer(run("pose", photos[0], "--yaw", 30, *words))["images"][0]["path"]
    by_map = answer(run("pose", photos[0], "--normal-map", "map.png", *words))["images"][0]["path"]
    assert np.array_equal(pixels(by_angle), pixels(by_map))


def test_turntable(run: Run, photos: list[Path]) -> None:
    found = answer(
        run("pose", photos[0], "--turntable", 3, "--fast", "--steps", 1, "--no-score", "-o", "turn", "--json")
    )
    assert [row["yaw"] for row in found["images"]] == [-60.0, 0.0, 60.0]
    assert len({row["seed"] for row in found["images"]}) == 1
    assert Image.open(found["sheet"]).size[0] > 3 * 128
    with Image.open(found["animation"]) as movie:
        assert getattr(movie, "n_frames", 1) >= 2


def test_expression_from_numbers_presets_and_files(run: Run, photos: list[Path]) -> None:
    words = ("-n", 1, "--seed", 1, "--steps", 1, "--no-score", "--json")
    edited = answer(run("expression", photos[0], "--jaw-open", 0.3, "--save-expression", "e.json", *words))
    assert edited["expression"]["values"][52] == pytest.approx(0.3)
    again = answer(run("expression", photos[0], "--expression", "e.json", *words))
    same = answer(run("expression", photos[0], "--preset", "mouth open", *words))
    pictures = [pixels(one["images"][0]["path"]) for one in (edited, again, same)]
    assert np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[0], pictures[2])
    assert "Mouth open" in run("expression", "--preset", "list")[1].splitlines()


def test_an_expression_read_from_photos(run: Run, photos: list[Path]) -> None:
    words = ("--read-only", "--json")
    first, second = (
        np.array(answer(run("expression", "--target", path, *words))["expression"]["values"]) for path in photos[1:]
    )
    assert first.shape == (55,) and not np.allclose(first, second)
    mixed = answer(run("expression", "-t", photos[1], "-t", photos[2], "--blend", 0.25, *words))["expression"]["values"]
    wanted = clamped(Expression(0.75 * first + 0.25 * second)).values
    assert np.allclose(mixed, wanted, atol=1e-5)


def test_read_only_needs_no_person(run: Run) -> None:
    found = answer(run("expression", "--preset", "yawn", "--amplitude", 0.5, "--read-only", "--json"))
    assert found["images"] == [] and found["expression"]["values"][52] == pytest.approx(0.3)


def test_keeping_the_look_and_pasting_back(run: Run, photos: list[Path]) -> None:
    found = answer(
        run(
            *("expression", photos[0], "--preset", "mouth open", "--keep-look", "--paste-back", "face"),
            *("-n", 1, "--fast", "--steps", 1, "--no-score", "--seed", 2, "--json"),
        )
    )
    pasted = pixels(found["pasted"][0])
    original = pixels(photos[0])
    assert pasted.shape == original.shape and not np.array_equal(pasted, original)
    assert np.array_equal(pasted[:5], original[:5])


def test_strip(run: Run, photos: list[Path]) -> None:
    found = answer(
        run("expression", photos[0], "--preset", "yawn", "--strip", 3, "--fast", "--steps", 1, "--no-score", "--json")
    )
    assert [row["amount"] for row in found["images"]] == [0.0, 0.5, 1.0]
    assert Path(found["sheet"]).is_file() and Path(found["animation"]).is_file()


def test_doctor_speaks_json(run: Run, models: Path) -> None:
    code, out, _ = run("doctor", "--quick", "--json")
    report = json.loads(out)
    assert code == (0 if report["healthy"] else 1)
    folder = next(check for check in report["checks"] if check["name"] == "models folder")
    assert folder["data"] == {"path": str(models), "kind": "tiny"}
    assert "models folder" in run("doctor", "--quick")[1]


def test_download_lists_and_refuses(run: Run, tmp_path: Path) -> None:
    assert "FoivosPar/Arc2Face" in run("download", "--list")[1]
    code, out, err = run("download", "--mirror", tmp_path / "none", "--models", tmp_path / "m")
    assert code == 1 and "neither a folder nor an http address" in err
    code, out, _ = run("download", "pose", "--dry-run", "--json", "--mirror", tmp_path, "--models", tmp_path / "m")
    assert code == 3 and {left["licence"] for left in json.loads(out)["left_out"]} == {"emoca", "flame"}


def test_a_bug_is_not_a_stack_trace(run: Run, models: Path, photos: list[Path], tmp_path: Path) -> None:
    """A models folder that is broken in a way nobody foresaw still ends in one line."""
    broken = Path(shutil.copytree(models, tmp_path / "broken"))
    (broken / "arc2face" / "config.json").unlink(missing_ok=True)
    (broken / "models" / "arc2face" / "config.json").write_text("[]")
    code, out, err = run("generate", photos[0], "--models", broken)
    assert code in (1, 70) and "Traceback" not in out + err


def test_a_port_in_use_is_said_before_anything_starts(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = run("app", "--port", taken.getsockname()[1])
    assert code == 1 and out == "" and "already in use" in err and "--port" in err


def test_settings_come_from_flags_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"ARC2FACE_PORT": "8000", "ARC2FACE_HOST": "0.0.0.0", "ARC2FACE_AUTH": "me:a:b", "ARC2FACE_SHARE": "yes"}
    plain = read_settings()
    assert (plain.host, plain.share, plain.auth, plain.hosts) == ("127.0.0.1", False, None, ())
    for name, text in {**environ, "ARC2FACE_BUDGET_GB": "2.5", "ARC2FACE_HOSTS": "a.org, B.org"}.items():
        monkeypatch.setenv(name, text)
    settings = read_settings(["--port", "9000"])
    assert (settings.port, settings.host, settings.auth, settings.share) == (9000, "0.0.0.0", ("me", "a:b"), True)
    assert (settings.budget_bytes, settings.hosts) == (2_500_000_000, ("a.org", "b.org"))
    assert "a:b" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "text", "code", "message"),
    [
        ("PORT", "http", 2, "ARC2FACE_PORT.*valid integer"),
        ("PORT", "0", 1, "between 1 and 65535"),
        ("SHARE", "perhaps", 2, "ARC2FACE_SHARE.*valid boolean"),
        ("SHARE", "1", 1, "needs a password"),
        ("AUTH", "me", 1, "user:password"),
        ("DEVICE", "toaster", 1, "Unknown device"),
        ("DTYPE", "int8", 1, "Unknown dtype"),
        ("VRAM", "lots", 1, "Unknown VRAM policy"),
        ("BUDGET_GB", "much", 2, "ARC2FACE_BUDGET_GB.*valid number"),
    ],
)
def test_settings_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, text: str, code: int, message: str
) -> None:
    monkeypatch.setenv(f"ARC2FACE_{name}", text)
    ended, _, err = run("app")
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", err).split())
    assert ended == code
    assert re.search(message, words), words
