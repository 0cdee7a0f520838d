"""A face that moves: frames by timestamps, expressions read frame by frame, runs that go on where they stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from arc2face import Engine, GenerationRequest
from arc2face.driving import Moment, Performance, Reel, drive, driven, mark, replay, save_film, watch
from arc2face.errors import ExpressionError, NoFaceError, SettingsError, VideoError
from arc2face.expression.blendshapes import ARKIT
from arc2face.expression.shapes import SHAPES_FILE
from arc2face.pictures import video as videos
from arc2face.pictures.loading import load_rgb_u8
from arc2face.pictures.video import MAX_SIDE, pictures_at, sample, timestamps
from arc2face.sources import find_person
from arc2face.types import Expression, ExpressionCondition
from tests.app import bundle
from tests.test_blendshapes import COLUMNS, write
from tests.videos import YELLOW, face, nobody, steady, uneven

QUICK = {"num_images": 1, "steps": 1, "seed": 3, "score": False}


@pytest.fixture(scope="module")
def engine(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine.open(bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("driving") / "tree"), device="cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> GenerationRequest:
    photo = bundle.person_photo(tmp_path_factory.mktemp("photo") / "one.png")
    return GenerationRequest(identity=find_person(engine, [photo]).identity, **QUICK)


def test_times_of_a_steady_video(tmp_path: Path) -> None:
    for name in ("a.avi", "b.mp4"):
        times = timestamps(steady(tmp_path / name, [face()] * 5, 10.0))
        assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)


def test_a_varying_rate_is_sampled_by_time(tmp_path: Path) -> None:
    """Point 7: whoever counts frames instead is half a second off here."""
    shades = [np.full((64, 64, 3), 30 * k, np.uint8) for k in range(6)]
    path = uneven(tmp_path / "v.gif", shades, [100, 500, 40, 300, 60, 200])
    times = timestamps(path)
    assert times == pytest.approx([0.0, 0.1, 0.6, 0.64, 0.94, 1.0], abs=1e-3)
    chosen = sample(times, 5.0)
    assert [one.frame for one in chosen] == [0, 1, 2, 3, 5]  # on screen at 0, 0.2 (and 0.4), 0.6, 0.8, 1.0
    assert [one.time for one in chosen] == pytest.approx([0.0, 0.2, 0.6, 0.8, 1.0])
    assert [one.until for one in chosen] == pytest.approx([0.2, 0.6, 0.8, 1.0, 1.3], abs=0.2)
    means = [int(picture.mean()) for picture in pictures_at(path, [one.frame for one in chosen])]
    assert means == pytest.approx([0, 30, 60, 90, 150], abs=2)


def test_pieces_and_rates() -> None:
    times = [k / 10 for k in range(30)]
    assert [one.frame for one in sample(times, 2.0, 1.0, 2.0)] == [10, 15]
    assert len(sample(times, 30.0)) == 30  # a frame is taken once, however often it is asked for
    assert [one.frame for one in sample([0.0], 8.0)] == [0]
    with pytest.raises(VideoError, match=r"3.0 s long; nothing lies between 5 s and 3 s"):
        sample(times, 8.0, 5.0)


def test_broken_timestamps_are_counted_by_the_rate() -> None:
    assert videos._repaired([0.0, 0.0, 0.0], 10.0) == [0.0, 0.1, 0.2]
    assert videos._repaired([0.5, float("nan"), 0.7, 0.6], 10.0) == pytest.approx([0.0, 0.0, 0.2, 0.2])


def test_large_frames_are_scaled_down_and_colours_stay(tmp_path: Path) -> None:
    wide = np.zeros((100, MAX_SIDE * 2, 3), np.uint8)
    wide[:, :, 0] = 200
    (picture,) = pictures_at(steady(tmp_path / "wide.avi", [wide]), [0])
    assert picture.shape == (50, MAX_SIDE, 3)
    assert picture.mean(axis=(0, 1)) == pytest.approx([200, 0, 0], abs=6)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.mp4", b"", "is empty"),
        ("a.mp4", b"just text" * 20, "is no video"),
        ("a.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is no video"),
        ("a.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "is no video"),
        ("a.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(500), "damaged"),
        ("a.webm", b"\x1a\x45\xdf\xa3" + bytes(500), "damaged"),
    ],
)
def test_what_is_no_video_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, data: bytes, words: str
) -> None:
    """Bad input: a damaged file, and playlists that would make the decoder open other files."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VideoError, match=words):
        timestamps(path)
    assert capfd.readouterr().err == ""
    with pytest.raises(VideoError, match="cannot be read"):
        timestamps(tmp_path / "absent.mp4")


def test_a_cut_off_video_gives_what_is_there(tmp_path: Path) -> None:
    whole = steady(tmp_path / "whole.avi", [face()] * 12)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 1 <= len(timestamps(cut)) < 12


def test_every_frame_is_read_like_a_photo(engine: Engine, tmp_path: Path) -> None:
    frames = [face(54), face(64), face(74)]
    path = uneven(tmp_path / "v.gif", frames, [250, 250, 250])
    heard: list[tuple[int, int]] = []
    seen = watch(engine, path, 4.0, on_progress=lambda done, total: heard.append((done, total)))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [moment.time for moment in seen.moments] == pytest.approx([0.0, 0.25, 0.5])
    for moment, picture in zip(seen.moments, pictures_at(path, [0, 1, 2]), strict=True):
        assert np.array_equal(moment.expression.values, engine.read_expression(picture).values)
    assert seen.faceless == () and seen.warnings == ()


def test_frames_without_a_face_are_named_and_bridged(engine: Engine, tmp_path: Path) -> None:
    frames = [nobody(), face(), nobody(), face(70)]
    seen = watch(engine, uneven(tmp_path / "v.gif", frames, [500] * 4), 2.0)
    assert [moment.time for moment in seen.moments] == pytest.approx([0.5, 1.5])
    assert seen.moments[0].until == pytest.approx(1.5)  # the expression before stays
    assert seen.faceless == pytest.approx((0.0, 1.0))
    assert seen.repeats == [2, 1]
    assert "No face in 2 of 4 frames (at 0.00 s, 1.00 s)" in seen.warnings[0]


def test_a_video_without_a_face_is_said(engine: Engine, tmp_path: Path) -> None:
    """Bad input: names the moments that were looked at."""
    path = uneven(tmp_path / "v.gif", [nobody(), nobody(130)[:128, :128] // 2], [500, 500])
    with pytest.raises(NoFaceError, match=r"any of the 2 frames .* \(at 0.00 s, 0.50 s\)"):
        watch(engine, path, 2.0)


def test_too_long_says_what_to_do(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = steady(tmp_path / "long.avi", [face()] * 20, 10.0)
    with pytest.raises(VideoError, match=r"20 pictures; at most 4 .* shorter piece .*0 s at this rate.* fewer"):
        watch(engine, path, 10.0, most=4)
    assert len(watch(engine, path, 10.0, 0.5, 0.9, most=4).moments) == 4
    monkeypatch.setattr(videos, "MAX_FRAMES_READ", 10)
    with pytest.raises(VideoError, match="more than 10 frames"):
        watch(engine, path, 1.0)


@pytest.mark.parametrize(
    "piece", [{"rate": 0}, {"rate": 31}, {"rate": float("nan")}, {"start": -1}, {"start": 2, "end": 1}, {"end": "x"}]
)
def test_unusable_pieces_are_settings_errors(engine: Engine, tmp_path: Path, piece: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        watch(engine, tmp_path / "never-opened.mp4", **piece)


SEEN = Performance(
    tuple(
        Moment(k / 4, (k + 1) / 4, Expression(np.random.default_rng(k).normal(0, 1, 55).astype(np.float32)))
        for k in range(4)
    ),
    4.0,
)


def test_one_seed_and_one_picture_per_moment(engine: Engine, base: GenerationRequest, tmp_path: Path) -> None:
    seen = SEEN
    frames = driven(base.with_(num_images=3), seen, 0.8)
    shots = list(drive(engine, frames, tmp_path / "out"))
    assert [shot.number for shot in shots] == [1, 2, 3, 4]
    assert {frame.request.seed for frame in frames} == {3}
    alone = engine.generate(base.with_(expression=ExpressionCondition(seen.moments[2].expression, 0.8)))
    assert np.array_equal(load_rgb_u8(shots[2].path), alone.images[0].rgb_u8)
    film = save_film(seen, [shot.path for shot in shots], tmp_path / "film.webp")
    with Image.open(film) as opened:  # equal pictures in a row are one frame that lasts longer
        lasting = [frame.info["duration"] for frame in ImageSequence.all_frames(opened)]
    assert sum(lasting) == 1000


def test_a_stopped_run_goes_on_without_redoing(engine: Engine, base: GenerationRequest, tmp_path: Path) -> None:
    """Point 7: stop keeps what is finished; the next call makes the rest only, and all is as if never stopped."""
    frames = driven(base, SEEN)
    out = tmp_path / "out"
    first = drive(engine, frames, out)
    assert [next(first).number for _ in range(2)] == [1, 2]
    first.close()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("frame-*.png")}
    assert set(before) == {"frame-0001.png", "frame-0002.png"}
    shots = list(drive(engine, frames, out))
    assert [shot.result is None for shot in shots] == [True, True, False, False]
    assert all((out / name).stat().st_mtime_ns == when for name, when in before.items())
    whole = list(drive(engine, frames, tmp_path / "whole"))
    for one, other in zip(shots, whole, strict=True):
        assert np.array_equal(load_rgb_u8(one.path), load_rgb_u8(other.path))


def test_only_the_same_request_counts_as_finished(engine: Engine, base: GenerationRequest, tmp_path: Path) -> None:
    one = base.with_(expression=ExpressionCondition(Expression.neutral()))
    reel = Reel(engine, tmp_path)
    path = reel.add(1, engine.generate(one))
    again = Reel(engine, tmp_path)
    assert again.finished(1, one) == path
    assert again.finished(2, one) is None
    for other in (
        one.with_(seed=4),
        one.with_(steps=2),
        one.with_(expression=ExpressionCondition(Expression.neutral(), 0.5)),
    ):
        assert again.finished(1, other) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert again.finished(1, one) is None  # a picture that was cut off is made again
    for damage in ("", "[]", '{"frames": {"1": 3}}', '{"frames": []}'):
        (tmp_path / "drive.json").write_text(damage)
        assert Reel(engine, tmp_path).finished(1, one) is None


def test_recordings_drive_where_the_head_knows_them(engine: Engine, base: GenerationRequest, tmp_path: Path) -> None:
    rows = [{"time": k / 10, "mouthSmileLeft": k / 10, "eyeLookUpLeft": 0.5} for k in range(11)]
    recording = write(tmp_path / "face.csv", ["time", *ARKIT], rows)
    with pytest.raises(ExpressionError, match="have no names"):
        replay(engine, recording, 5.0)
    names = engine.models.root / SHAPES_FILE
    names.write_text(json.dumps({"columns": list(COLUMNS), "jaw": {"jawOpen": 0.36}}))
    try:
        found = replay(engine, recording, 5.0)
    finally:
        names.unlink()
    place = COLUMNS.index("mouthSmileLeft")
    assert [float(moment.expression.values[place]) for moment in found.moments] == pytest.approx(
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    assert "eyeLookUpLeft" in found.warnings[0]
    assert [frame.name for frame in driven(base, found)][:2] == ["0.00 s", "0.20 s"]


def test_another_persons_colour_is_another_request(engine: Engine, base: GenerationRequest) -> None:
    other = find_person(engine, [face(colour=YELLOW)]).identity
    assert mark(engine, base) != mark(engine, base.with_(identity=other))
    assert mark(engine, base) == mark(engine, base.with_(seed=base.seed))


def test_the_command_goes_on_and_changes_groups(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points 7 and 8 on the command line: the same command twice makes nothing twice; one picture of all."""
    from arc2face_app.cli import main

    photo = bundle.person_photo(tmp_path / "one.png")
    clip = uneven(tmp_path / "v.gif", [face(54), face(74)], [500, 500])
    where = ["--models", str(engine.models.root), "--device", "cpu", "--steps", "1", "--json"]
    command = ["drive", str(photo), "--video", str(clip), "--rate", "2", "-o", str(tmp_path / "out"), *where]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    second = json.loads(capsys.readouterr().out)
    assert [row["made"] for row in (*first["images"], *second["images"])] == [True, True, False, False]
    assert Path(second["animation"]).name == "drive.webp" and Path(second["animation"]).is_file()
    assert main(["drive", str(photo), "--json"]) == 1
    assert "Say what moves" in json.loads(capsys.readouterr().out)["error"]["message"]
    two = bundle.two_people(tmp_path / "two.png")
    give = ["--give", "1=Yawn", "--give", f"2={photo}", "--seed", "3", "-o", str(tmp_path / "out")]
    assert main(["group", str(two), *give, *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["face"] for row in told["images"]] == [1, 2] and len(told["faces"]) == 2
    assert Image.open(told["images"][0]["path"]).size == (420, 256)
