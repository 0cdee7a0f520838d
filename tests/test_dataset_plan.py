"""The plan of a data set: who, which pictures, which seeds; and what is refused before anything is drawn.

Run alone: ./run test tests/test_dataset_plan.py
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arc2face.dataset import seeds
from arc2face.dataset.catalogue import load_catalogue, parse_axes
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.parts import Part, part_of
from arc2face.dataset.plan import DatasetPlan, Drawing, References
from arc2face.dataset.planning import estimate, load_plan, make_folder, open_set
from arc2face.dataset.references import ReferencePhotos
from arc2face.dataset.schedule import CatalogueEntry, Pose, Schedule, wishes
from arc2face.errors import EmbeddingError, ExpressionError, InputError, SettingsError, StorageError
from arc2face.settings import MAX_SEED
from arc2face.types import EMBEDDING_SIZE

RNG = np.random.default_rng(3)
STARTER = Path(__file__).resolve().parent.parent / "models" / "starter"
FACE = CatalogueEntry("still", (0.0,) * 55)
TALK = CatalogueEntry("talk", (0.0,) * 55, ((52, 0.1, 0.4),))


def people(count: int = 3, prefix: str = "person") -> Identities:
    vectors = np.random.default_rng(3).standard_normal((count, EMBEDDING_SIZE)).astype(np.float32)
    return Identities(tuple(f"{prefix}-{k}" for k in range(count)), vectors, ("made up",) * count)


def planned(identities: Identities, **fields: Any) -> DatasetPlan:
    return DatasetPlan(people=len(identities), identities_sha256=identities.sha256, **fields)


def test_a_plan_survives_its_json_and_every_field_counts() -> None:
    schedule = Schedule("grid", (Pose("left", -30.0), Pose("right", 30.0)), pitch=(-5, 5), expressions=(FACE, TALK))
    who = people()
    plan = planned(who, schedule=schedule, negative=tuple(RNG.standard_normal(512)), min_score=0.4, max_tries=3)
    assert DatasetPlan.from_dict(json.loads(plan.to_json())) == plan
    changes: dict[str, Any] = {
        "pictures": 5,
        "schedule": Schedule("random"),
        "drawing": Drawing(steps=24),
        "references": References("0" * 64, 2),
        "negative": None,
        "negative_strength": 0.7,
        "min_score": 0.5,
        "max_tries": 4,
        "keep_best": 1,
        "per_shard": 3,
        "batch": 2,
        "threads": 2,
        "picture": "jpg",
        "quality": 80,
        "seed": 1,
        "people": 4,
        "identities_sha256": "1" * 64,
    }
    hashes = {plan.sha256} | {replace(plan, **{name: value}).sha256 for name, value in changes.items()}
    assert set(changes) == set(DatasetPlan.__dataclass_fields__)
    assert len(hashes) == len(changes) + 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pictures": 0}, "pictures per person"),
        ({"pictures": 10_000}, "pictures per person"),
        ({"batch": 9}, "batch size"),
        ({"keep_best": 5}, "pictures to keep"),
        ({"max_tries": 3}, "need a lowest score"),
        ({"min_score": float("nan")}, "lowest score"),
        ({"picture": "webp"}, "png or jpg"),
        ({"seed": MAX_SEED + 1}, "plan's seed"),
        ({"negative": (0.0,) * 512}, "all zeros"),
        ({"negative": (1.0,) * 512, "drawing": Drawing(fast=True)}, "guidance scale above 1"),
    ],
)
def test_plans_that_cannot_be_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        planned(people(), **fields)


def test_the_decoder_is_never_left_to_the_device() -> None:
    """The same plan gives the same bytes whoever runs it."""
    with pytest.raises(SettingsError, match="exact or small"):
        Drawing(decoder="auto")


def test_a_folder_belongs_to_one_plan(tmp_path: Path) -> None:
    who = people()
    plan = planned(who, pictures=2)
    folder = make_folder(plan, who, tmp_path / "faces")
    before = {path.name: path.read_bytes() for path in folder.root.iterdir()}
    assert set(before) == {"plan.json", "identities.npz"}
    make_folder(plan, who, folder.root)
    assert {path.name: path.read_bytes() for path in folder.root.iterdir()} == before
    with pytest.raises(InputError, match=r"another plan .* two plans would be mixed"):
        make_folder(replace(plan, seed=1), who, folder.root)
    assert open_set(folder).plan == plan and open_set(folder).identities.keys == who.keys

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"not empty \(holiday.jpg"):
        make_folder(plan, who, tmp_path / "full")
    with pytest.raises(InputError, match="other people"):
        make_folder(plan, people(3, "other"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_plan_that_was_edited_or_damaged_is_refused(tmp_path: Path) -> None:
    who = people()
    folder = make_folder(planned(who, pictures=2), who, tmp_path / "faces")
    text = folder.plan.read_text("utf-8")
    folder.plan.write_text(text.replace('"seed":0', '"seed": 0'), "utf-8")
    with pytest.raises(InputError, match="changed by hand"):
        load_plan(folder)
    for damaged, words in ((text[:-9], "cannot be read as a plan"), ("[]", "no plan"), ("{}", "no plan of a data set")):
        folder.plan.write_text(damaged, "utf-8")
        with pytest.raises(InputError, match=words):
            load_plan(folder)
    folder.plan.write_text(text.replace('"kind":"balanced"', '"kind":"balanced","more":1'), "utf-8")
    with pytest.raises(InputError, match="damaged"):
        load_plan(folder)
    with pytest.raises(InputError, match="holds no data set"):
        DatasetFolder.of(tmp_path)


def test_what_does_not_fit_the_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    who = people(200)
    plan = planned(who, pictures=9_999, drawing=Drawing(height=1024, width=1024))
    assert estimate(plan).bytes > 3e12
    with pytest.raises(StorageError, match=r"needs about \d+\.\d GB, and .* left"):
        make_folder(plan, who, tmp_path / "faces")
    assert not (tmp_path / "faces").exists()


def test_seeds_depend_on_the_person_and_not_on_the_place() -> None:
    found = [seeds.picture_seed(7, f"person-{k}", picture) for k in range(50) for picture in range(40)]
    assert len(set(found)) == len(found) and min(found) >= 0 and max(found) <= MAX_SEED
    assert seeds.picture_seed(7, "anna", 3) == 3816047333, "a change of the rule would change every data set"
    numbers = (("anna", 3, 1), ("anna", 4, 0), ("ann", 3, 0))
    others = {seeds.picture_seed(7, *each) for each in numbers} | {seeds.picture_seed(8, "anna", 3)}
    assert len(others | {seeds.picture_seed(7, "anna", 3)}) == 5
    assert sorted(seeds.order(7, "anna", "cell", 9)) == list(range(9))


def test_a_grid_walks_through_poses_then_expressions() -> None:
    schedule = Schedule("grid", (Pose("left", -30.0), Pose("right", 30.0)), expressions=(FACE, TALK))
    found = wishes(schedule, 0, "anna", 5)
    shown = [(wish.pose_name, wish.expression_name) for wish in found]
    assert shown == [("left", "still"), ("right", "still"), ("left", "talk"), ("right", "talk"), ("left", "still")]
    assert found[0].angles == (-30.0, 0.0, 0.0) and found[0].expression == (0.0,) * 55
    talking = [wish.expression[52] for wish in found if wish.expression_name == "talk" and wish.expression]
    assert all(0.1 <= value <= 0.4 for value in talking) and len(set(talking)) == 2


def test_balanced_people_meet_everything_equally_often() -> None:
    poses = tuple(Pose(f"yaw {yaw}", yaw) for yaw in (-30.0, 0.0, 30.0))
    schedule = Schedule("balanced", poses, pitch=(-10.0, 10.0), expressions=(FACE, TALK))
    found = wishes(schedule, 0, "anna", 12)
    counted = Counter((wish.pose_name, wish.expression_name) for wish in found)
    assert set(counted.values()) == {2} and len(counted) == 6
    parts = sorted(int((wish.angles[1] + 10.0) / 20.0 * 12) for wish in found if wish.angles)
    assert parts == list(range(12)), "each twelfth of the range once"
    assert [w.pose_name for w in wishes(schedule, 0, "ben", 12)] != [w.pose_name for w in found]
    assert wishes(schedule, 0, "anna", 12) == found


def test_random_draws_for_every_picture_and_nothing_asked_is_nothing() -> None:
    schedule = Schedule("random", yaw=(-40.0, 40.0), expressions=(FACE, TALK))
    found = wishes(schedule, 0, "anna", 200)
    yaws = [wish.angles[0] for wish in found if wish.angles]
    assert -40 <= min(yaws) < -30 and 30 < max(yaws) <= 40 and abs(float(np.mean(yaws))) < 6
    assert 70 < sum(wish.expression_name == "talk" for wish in found) < 130
    assert found[:10] == wishes(schedule, 0, "anna", 10), "a longer plan begins like a shorter one"
    nothing = wishes(Schedule(), 0, "anna", 1)[0]
    assert (nothing.angles, nothing.expression, nothing.pose_name) == (None, None, None)


def test_angles_in_words() -> None:
    poses, ranges = parse_axes({"yaw": "-40:40:5", "pitch": "-10, 10", "roll": "-5:5"})
    assert len(poses) == 10 and poses[0].name == "yaw -40, pitch -10" and poses[0].roll is None
    assert {pose.yaw for pose in poses} == {-40.0, -20.0, 0.0, 20.0, 40.0}
    assert ranges == {"yaw": None, "pitch": None, "roll": (-5.0, 5.0)}
    assert parse_axes({"yaw": "-40:40", "pitch": None})[0] == ()
    for text in ("", "left", "-40:", "1:2:3:4", "-40:40:1", "40:-40:3", "nan", "1,1", "1e9:2"):
        with pytest.raises(SettingsError, match="yaw"):
            parse_axes({"yaw": text})
    with pytest.raises(SettingsError, match="smaller to the larger"):
        Schedule(yaw=parse_axes({"yaw": "40:-40"})[1]["yaw"])
    with pytest.raises(SettingsError, match="between -75 and 75"):
        Schedule(yaw=(-80.0, 80.0))
    with pytest.raises(SettingsError, match="10000 poses"):
        parse_axes({"yaw": "0:50:100", "pitch": "0:10:100"})


def test_a_catalogue_of_presets_numbers_shapes_and_ranges(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    content: dict[str, Any] = {
        "numbers": [0.0] * 52 + [0.2, 0.0, 0.0],
        "wide": {"shapes": {"mouthSmileLeft": 0.5}, "ranges": {"jaw_open": [0.0, 0.3], "eyeBlinkLeft": [0, 1]}},
        "calm": {"preset": "Sleepy"},
        "saved": {"components": [1.0, -1.0], "eyelids": {"left": 0.5}},
    }
    path.write_text(json.dumps(content), "utf-8")
    found = {entry.name: entry for entry in load_catalogue(["Smile", str(path)], STARTER)}
    assert list(found) == ["Smile", *content]
    assert found["numbers"].values[52] == pytest.approx(0.2)
    assert found["wide"].values[0] == 0.5 and found["wide"].ranges == ((52, 0.0, 0.3), (50, 0.0, 1.0))
    assert found["calm"].values[50] == pytest.approx(0.55) and found["saved"].values[:2] == (1.0, -1.0)
    assert {"Neutral", "Smile"} < {entry.name for entry in load_catalogue(["all"], STARTER)}
    with pytest.raises(SettingsError, match="no preset 'Grin'"):
        load_catalogue(["Grin"], STARTER)
    for entry, words in (
        ({"shapes": {"grin": 1}}, "no shape 'grin'"),
        ({"ranges": {"jaw_open": [0, 3]}}, "Jaw opening"),
        ({"ranges": {"jaw_open": 1}}, "two numbers"),
        ({"ranges": {"jaw_open": [0.3, 0.1]}}, "smaller to the larger"),
        ({"preset": "Smile", "jaw": [0.1, 0, 0]}, "one of them"),
        ([0.0] * 54, "54"),
        ({"eyelids": [0, 7]}, "Eyelid"),
    ):
        path.write_text(json.dumps({"odd": entry}), "utf-8")
        with pytest.raises(ExpressionError, match=words):
            load_catalogue([path], STARTER)


def test_identities_survive_their_file_and_decide_the_hash(tmp_path: Path) -> None:
    who = replace(people(4), recogniser_sha256="a" * 64)
    again = Identities.load(who.save(tmp_path / "who.npz"))
    assert again.keys == who.keys and again.sources == who.sources and again.recogniser_sha256 == "a" * 64
    assert np.array_equal(again.vectors, who.vectors) and again.sha256 == who.sha256
    assert who.take([1, 0]).sha256 != who.take([0, 1]).sha256
    assert who.person(2).recogniser_sha256 == "a" * 64


@pytest.mark.parametrize(
    ("keys", "vectors", "words"),
    [
        ((), np.zeros((0, 512)), "nobody to draw"),
        (("a", "a"), np.ones((2, 512)), "there twice"),
        (("a", ""), np.ones((2, 512)), "1 to 200 characters"),
        (("a", "b\n"), np.ones((2, 512)), "printable"),
        (("a", "b"), np.ones((2, 511)), r"shape \(2, 512\)"),
        (("a", "b"), np.full((2, 512), np.nan), "NaN"),
        (("a", "b"), np.zeros((2, 512)), "length 0"),
        (("a",), np.full((1, 512), 1e30), "length"),
        (("a",), "text", "numbers"),
    ],
)
def test_identities_that_cannot_be_are_refused(keys: tuple[str, ...], vectors: Any, words: str) -> None:
    with pytest.raises(EmbeddingError, match=words):
        Identities(keys, vectors, ("",) * len(keys))


def test_identity_files_are_read_without_trust(tmp_path: Path) -> None:
    who = people(2)
    path = who.save(tmp_path / "who.npz")
    whole = path.read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "pickled.npz", format=np.array("arc2face-identities"), keys=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", embedding=np.ones(512))
    for name in ("cut.npz", "pickled.npz", "other.npz", "none.npz"):
        with pytest.raises(EmbeddingError):
            Identities.load(tmp_path / name)


def test_reference_photos_are_part_of_the_plan(tmp_path: Path) -> None:
    who = people(2)
    photos = ReferencePhotos(who.keys, tuple(RNG.integers(0, 256, (16, 16, 3), np.uint8) for _ in who.keys))
    plan = planned(who, references=References(photos.sha256, 2, by="person"))
    folder = make_folder(plan, who, tmp_path / "faces", photos)
    opened = open_set(folder)
    assert opened.references is not None and opened.references.sha256 == photos.sha256
    other = ReferencePhotos(who.keys, photos.pictures[::-1])
    with pytest.raises(InputError, match="others than the plan"):
        make_folder(plan, who, tmp_path / "new", other)
    with pytest.raises(InputError, match="no reference photo of 'person-2'"):
        make_folder(planned(people(3), references=plan.references), people(3), tmp_path / "new", photos)
    with pytest.raises(InputError, match="do not belong together"):
        make_folder(plan, who, tmp_path / "new")
    (folder.root / "references.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="cannot be read as reference photos"):
        open_set(folder)


ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "17"}


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        (ARRAY | {"SLURM_ARRAY_TASK_COUNT": "8"}, Part(2, 8)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "4"}, Part(3, 4)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Part(1, 2)),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "6"}, Part(5, 6)),
        (ARRAY | {"SLURM_ARRAY_TASK_COUNT": "8", "RANK": "1", "WORLD_SIZE": "4"}, Part(9, 32)),
    ],
)
def test_schedulers_say_which_part_is_ours(environment: dict[str, str], part: Part) -> None:
    assert part_of("auto", environment) == part


def test_parts_cover_everything_once() -> None:
    assert part_of(None) == Part(0, 1) and part_of(" 2/8 ") == Part(2, 8)
    shards = [shard for index in range(3) for shard in Part(index, 3).shards(10)]
    assert sorted(shards) == list(range(10))
    for text in ("8/8", "1", "-1/2", "a/b", "1/0", ""):
        with pytest.raises(SettingsError):
            part_of(text)
    with pytest.raises(SettingsError, match="finds no scheduler"):
        part_of("auto", {})
    with pytest.raises(SettingsError, match="without gaps"):
        part_of("auto", ARRAY | {"SLURM_ARRAY_TASK_COUNT": "3"})
    with pytest.raises(SettingsError, match="JOB_COMPLETIONS"):
        part_of("auto", {"JOB_COMPLETION_INDEX": "3"})
