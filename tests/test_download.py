"""Planning and fetching: what is missing, hashes, trust on first use, zip files, licences, mirrors, the script."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from arc2face.errors import Arc2FaceError, DownloadError, SettingsError, StorageError
from arc2face.weights.download import Event, fetch, plan_files
from arc2face.weights.download.command import DownloadRequest, run
from arc2face.weights.download.ledger import Ledger
from arc2face.weights.download.sources import Address, Remote, resolve_drive
from arc2face.weights.download.text import LineProgress, ask_licences, size
from arc2face.weights.table import Variant, WeightFile
from tests.downloading import CONFIG, ONNX, PATIENCE, UNET, go, hf, hub, online, options, sha
from tests.hub_server import COMMIT, Behaviour, Hub, busy, corrupt, drop, page, redirect

__all__ = ["hub", "online"]  # fixtures

PROJECT = Path(__file__).resolve().parent.parent


def test_fetches_what_is_missing_and_nothing_twice(hub: Hub, tmp_path: Path) -> None:
    files = [hf("unet/w.dat", UNET), hf("unet/config.json")]
    plan = plan_files(files, tmp_path, options(hub))
    assert [job.path for job in plan.jobs] == ["unet/w.dat", "unet/config.json"]
    assert plan.known_bytes == len(UNET) + len(CONFIG)  # the size of the second was asked from the server
    assert go(plan) == ["unet/w.dat", "unet/config.json"]
    assert (tmp_path / "unet" / "w.dat").read_bytes() == UNET

    again = plan_files(files, tmp_path, options(hub))
    assert again.jobs == () and len(again.present) == 2


def test_events_tell_the_progress(hub: Hub, tmp_path: Path) -> None:
    heard: list[Event] = []
    fetch(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub)), heard.append, PATIENCE)
    assert [e.kind for e in heard if e.kind != "bytes"] == ["start", "verify", "done"]
    assert [e.done for e in heard if e.kind == "bytes"][-1] == len(UNET) == heard[0].total
    out = io.StringIO()
    clock = iter(range(0, 1000, 3))
    progress = LineProgress(out, lambda: float(next(clock)))
    for event in heard:
        progress(event)
    assert "200 kB of 200 kB" in out.getvalue() and "checking" in out.getvalue()


def test_a_damaged_file_on_the_disk_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """C10: the damaged byte always differs from the right one."""
    file = hf("unet/w.dat", UNET)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "w.dat").write_bytes(UNET[:-1] + bytes([UNET[-1] ^ 1]))
    plan = plan_files([file], tmp_path, options(hub))
    assert plan.jobs[0].replaces == "its hash is not the published one"
    assert plan_files([file], tmp_path, options(hub, verify=False)).jobs == ()
    assert go(plan) == ["unet/w.dat"]
    (tmp_path / "unet" / "w.dat").write_bytes(b"")
    assert plan_files([file], tmp_path, options(hub, verify=False)).jobs[0].replaces == "it is empty"


def test_wrong_bytes_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.script("owner/repo/resolve/c0ffee/unet/w.dat", corrupt, corrupt)
    with pytest.raises(DownloadError, match="another content than the published one"):
        go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub)))
    assert not list(tmp_path.rglob("*.dat")) and not (tmp_path / ".download").exists()


def test_a_login_page_is_not_taken_for_weights(hub: Hub, tmp_path: Path) -> None:
    hub.files["owner/repo/resolve/c0ffee/unet/w.dat"] = b"<!DOCTYPE html><html>please log in</html>"
    with pytest.raises(DownloadError, match="it is a web page"):
        go(plan_files([hf("unet/w.dat")], tmp_path, options(hub)))


def test_first_use_is_recorded_and_a_later_change_noticed(hub: Hub, tmp_path: Path) -> None:
    file = hf("unet/w.dat")
    outcome = fetch(plan_files([file], tmp_path, options(hub)), patience=PATIENCE)
    assert outcome.first_use == ("unet/w.dat",)
    entry = Ledger(tmp_path).get("unet/w.dat")
    assert entry is not None and entry.sha256 == sha(UNET) and entry.first_use and entry.bytes == len(UNET)

    hub.files["owner/repo/resolve/c0ffee/unet/w.dat"] = b"other" * 1000
    (tmp_path / "unet" / "w.dat").unlink()
    with pytest.raises(DownloadError, match=r"has changed since it was first fetched.*--trust-changed"):
        go(plan_files([file], tmp_path, options(hub)))
    trusting = options(hub, trust_changed=True)
    assert go(plan_files([file], tmp_path, trusting)) == ["unet/w.dat"]
    assert (tmp_path / "unet" / "w.dat").read_bytes() == b"other" * 1000


def test_a_file_changed_on_the_disk_is_noticed_by_its_recorded_hash(hub: Hub, tmp_path: Path) -> None:
    go(plan_files([hf("unet/w.dat")], tmp_path, options(hub)))
    (tmp_path / "unet" / "w.dat").write_bytes(b"rotten" * 100)
    plan = plan_files([hf("unet/w.dat")], tmp_path, options(hub))
    assert plan.jobs[0].replaces == "its hash has changed since it was fetched"


def test_the_hash_that_hugging_face_promises_is_checked(hub: Hub, tmp_path: Path) -> None:
    path = "owner/repo/resolve/c0ffee/unet/w.dat"
    hub.promises[path] = sha(b"something else")
    with pytest.raises(DownloadError, match="promised another SHA-256"):
        go(plan_files([hf("unet/w.dat")], tmp_path, options(hub)))
    hub.promises[path] = sha(UNET)
    go(plan_files([hf("unet/w.dat")], tmp_path, options(hub)))
    entry = Ledger(tmp_path).get("unet/w.dat")
    assert entry is not None and entry.revision == COMMIT


def test_a_dropped_connection_goes_on_where_it_ended(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    path = "owner/repo/resolve/c0ffee/unet/w.dat"
    hub.script(path, drop(150_000))
    assert go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub))) == ["unet/w.dat"]
    assert [seen.headers.get("range") for seen in hub.gets(path)] == [None, "bytes=150000-"]


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with Hub({"signed": UNET}) as storage:
        path = "owner/repo/resolve/c0ffee/unet/w.dat"
        hub.script(path, redirect(storage.url("signed")))
        go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub)))
        assert {seen.headers.get("authorization") for seen in hub.seen if seen.path == path} == {"Bearer hf_secret"}
        assert storage.seen and not any("authorization" in seen.headers for seen in storage.seen)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(busy(403), "HF_TOKEN|refuses|could not be fetched"), (busy(404), "has no|is not in|could not be fetched")],
)
def test_refusals_of_the_hub_are_said_in_one_sentence(hub: Hub, tmp_path: Path, answer: Behaviour, words: str) -> None:
    hub.script("owner/repo/resolve/c0ffee/unet/w.dat", *[answer] * 4)
    with pytest.raises(DownloadError, match=words):
        go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub)))
    assert not (tmp_path / ".download").exists()


def test_offline_mode_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE is set.*--mirror"):
        go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub)))
    assert hub.seen == []


def test_a_file_that_is_in_the_cache_of_the_hub_is_copied(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "cache" / "models--owner--repo" / "snapshots" / COMMIT / "unet"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "cache" / "models--owner--repo" / "blobs" / sha(UNET)
    blob.parent.mkdir()
    blob.write_bytes(UNET)
    (snapshot / "w.dat").symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    file = hf("unet/w.dat", UNET, revision=COMMIT)
    assert go(plan_files([file], tmp_path / "m", options(hub))) == ["unet/w.dat"]
    assert (tmp_path / "m" / "unet" / "w.dat").read_bytes() == UNET and hub.seen == []


def test_half_precision_takes_the_fp16_file_under_its_own_name(hub: Hub, tmp_path: Path) -> None:
    half = b"half" * 100
    hub.files["owner/repo/resolve/c0ffee/vae/w.fp16.dat"] = half
    file = hf(
        "vae/w.dat",
        UNET,
        accepted=("vae/w.dat", "vae/w.fp16.dat"),
        fp16=Variant("vae/w.fp16.dat", "vae/w.fp16.dat", len(half), sha(half)),
    )
    assert go(plan_files([file], tmp_path, options(hub, precision="fp16"))) == ["vae/w.fp16.dat"]
    assert plan_files([file], tmp_path, options(hub)).present == (file,)


def test_unpinned_takes_main(hub: Hub, tmp_path: Path) -> None:
    hub.files["owner/repo/resolve/main/unet/w.dat"] = UNET
    remote = Remote(endpoint=hub.base, unpinned=True)
    go(plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub, remote=remote)))
    assert hub.seen[-1].path == "owner/repo/resolve/main/unet/w.dat"


def test_the_endpoint_comes_from_the_environment() -> None:
    assert Remote.from_env({"HF_ENDPOINT": "http://proxy/"}).endpoint == "http://proxy"
    assert Remote.from_env({}).endpoint is None


def test_licences_block_until_accepted(hub: Hub, tmp_path: Path) -> None:
    file = hf("unet/w.dat", UNET, licence="flame")
    plan = plan_files([file], tmp_path, options(hub))
    assert plan.jobs == () and plan.blocked[0].licence.pages == ("https://flame.is.tue.mpg.de",)
    assert go(plan_files([file], tmp_path, options(hub, accepted=frozenset({"flame"})))) == ["unet/w.dat"]


def test_licence_questions_name_the_pages() -> None:
    out = io.StringIO()
    answers = iter(["y", "no"])
    accepted = ask_licences(["pose"], frozenset(), lambda _: next(answers), out)
    assert accepted == frozenset({"emoca"})
    assert "https://emoca.is.tue.mpg.de" in out.getvalue() and "https://flame.is.tue.mpg.de" in out.getvalue()
    assert ask_licences(["pose"], frozenset(), None, out) == frozenset()


DRIVE_PAGE = """<!DOCTYPE html><html><form id="download-form" action="{0}" method="get">
<input type="hidden" name="id" value="xyz"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="1&amp;2"></form></html>"""


def test_google_drive_question_is_answered(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {"drive": UNET, "real": UNET}
    hub.script("drive", page(DRIVE_PAGE.format("/real")))
    file = WeightFile("s", "smirk/s.dat", "SMIRK", "smirk", "drive", "", "xyz", None, len(UNET), sha(UNET))
    assert go(plan_files([file], tmp_path, options(hub))) == ["smirk/s.dat"]
    assert hub.seen[-1].path == "real" and hub.seen[-1].query == "id=xyz&confirm=t&uuid=1%262"


def test_google_drive_quota_is_said(hub: Hub) -> None:
    hub.files["drive"] = b""
    hub.script("drive", page("<html>Too many users have viewed or downloaded this file recently</html>"))
    with pytest.raises(DownloadError, match=r"drive\.google\.com/file/d/xyz/view"):
        resolve_drive(Address(hub.url("drive?id=xyz"), "s.dat", drive=True))


def test_no_room(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="are needed"):
        plan_files([replace(hf("unet/w.dat", UNET), bytes=10**18)], tmp_path, options(hub))


def test_the_wrong_recogniser_is_moved_out_of_the_way(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "antelopev2").mkdir()
    (tmp_path / "antelopev2" / "glintr100.onnx").write_bytes(ONNX)
    outcome = fetch(plan_files([], tmp_path, options(hub)), patience=PATIENCE)
    assert "unused/" in outcome.notes[0]
    assert (tmp_path / "unused" / "glintr100.onnx").is_file() and not list((tmp_path / "antelopev2").iterdir())


def test_two_downloads_into_one_folder_are_refused(hub: Hub, tmp_path: Path) -> None:
    plan = plan_files([hf("unet/w.dat", UNET)], tmp_path, options(hub))
    second: list[str] = []

    def try_again(event: Event) -> None:
        if event.kind == "start":
            with pytest.raises(DownloadError, match="is under way"):
                go(plan)
            second.append(event.title)

    fetch(plan, try_again, PATIENCE)
    assert second


def request(**more: object) -> DownloadRequest:
    return replace(DownloadRequest(("identity",), Path("models")), **more)  # pyright: ignore[reportArgumentType]


def test_the_command_refuses_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Unknown feature hair; choose from identity"):
        run(request(features=("hair",), models=tmp_path), io.StringIO())
    with pytest.raises(SettingsError, match="Unknown licence gpl; those to accept are emoca, flame"):
        run(request(accept=("gpl",), models=tmp_path), io.StringIO())


def test_the_command_lists_plans_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    out = io.StringIO()
    assert run(request(listing=True), out) == 0
    assert "FoivosPar/Arc2Face" in out.getvalue()
    out = io.StringIO()
    everything = request(features=("pose",), models=tmp_path, dry_run=True, as_json=True, mirror=str(tmp_path))
    assert run(everything, out) == 3
    answer = json.loads(out.getvalue())
    assert {left["licence"] for left in answer["left_out"]} == {"emoca", "flame"}
    assert any(job["path"] == "antelopev2.zip" and job["bytes"] == 360_662_982 for job in answer["planned"])


def test_the_command_asks_before_it_begins(tmp_path: Path) -> None:
    asked: list[str] = []

    def no(question: str) -> str:
        asked.append(question)
        return "n"

    out = io.StringIO()
    assert run(request(features=("pose",), models=tmp_path / "m", mirror=str(tmp_path)), out, no) == 1
    assert len(asked) == 3 and "emoca" in asked[0] and "flame" in asked[1] and "Fetch now" in asked[2]
    assert "Nothing was fetched" in out.getvalue() and not (tmp_path / "m").exists()


def test_the_script_runs_without_any_package(tmp_path: Path) -> None:
    """-I and -S: no site-packages, no environment. A mirror with a wrong VAE is refused with one line."""
    mirror = PROJECT / "tests" / "data" / "tiny"
    command = [sys.executable, "-I", "-S", str(PROJECT / "scripts" / "download_models.py")]
    env = {**os.environ, "ARC2FACE_CACHE": str(tmp_path / "cache")}
    listed = subprocess.run([*command, "--list", "--json"], capture_output=True, text=True, env=env, check=True)
    assert any(row["path"] == "antelopev2/arcface.onnx" for row in json.loads(listed.stdout))
    fetched = subprocess.run(
        [*command, "fast", "--models", str(tmp_path / "m"), "--mirror", str(mirror)],
        capture_output=True,
        text=True,
        env=env,
    )
    assert fetched.returncode == 1 and "Traceback" not in fetched.stderr
    assert fetched.stderr.startswith("Error: ") and fetched.stderr.count("\n") == 1
    wrong = subprocess.run([*command, "--models"], capture_output=True, text=True, env=env)
    assert wrong.returncode == 2
    assert subprocess.run([*command, "--help"], capture_output=True, env=env).returncode == 0
    from_hub = subprocess.run(
        [*command, "fast", "--yes", "--models", str(tmp_path / "h")], capture_output=True, text=True, env=env
    )
    assert from_hub.returncode == 1 and not (tmp_path / "h").exists()
    assert "pip install huggingface_hub" in from_hub.stderr and "--mirror" in from_hub.stderr


@pytest.mark.parametrize(
    ("count", "text"), [(None, "size unknown"), (17, "17 bytes"), (334_643_276, "334.6 MB"), (3_438_167_540, "3.44 GB")]
)
def test_sizes_for_people(count: int | None, text: str) -> None:
    assert size(count) == text


def test_every_failure_is_of_our_own_kind() -> None:
    assert issubclass(DownloadError, Arc2FaceError)
