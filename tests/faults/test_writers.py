"""Everything that writes files does it through one door, and kill -9 or a full disk leaves files whole."""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from arc2face.weights.writing import TEMPORARY_PREFIX
from tests.faults.conftest import PROJECT, Start

posix = pytest.mark.skipif(os.name != "posix", reason="kill -9 and limits of file sizes are POSIX")

# File and function: why it may write without `replace_with`.
ALLOWED = {
    "arc2face/weights/writing.py _sync": "the door itself",
    "arc2face/weights/writing.py replace_with": "the door itself",
    "arc2face/weights/download/lock.py only_one": "a lock has no contents",
    "arc2face/weights/download/http.py write_note": "a note that cannot be read means: begin anew",
    "arc2face/weights/download/http.py _attempt": "a part grows under its own name and is moved when its hash is right",
    "arc2face/weights/download/http.py publish": "moves a verified part",
    "arc2face/weights/download/hub.py fetch_from_hub": "moves a verified file",
    "arc2face/weights/download/hub.py _copied": "into the staging folder, from where it is verified and moved",
    "arc2face/weights/download/run.py set_aside_glintr": "renames in one step",
    "external/emoca/arc2face_emoca/cache.py _write": "emoca stands alone; the same steps, tested there",
    "arc2face/pictures/animation.py _mp4": "into memory",
    "arc2face/dataset/leftovers.py _abandoned": "opened to try its lock",
    "arc2face/dataset/planning.py make_folder": "its people and photos save themselves through the door",
    "arc2face/dataset/shards.py _only_writer": "opened for its lock",
    "arc2face/dataset/shards.py __init__": "a tar in a temporary file of `owned`, which is `replace_with` and a lock",
    **dict.fromkeys(
        (
            "arc2face/dataset/export/folders.py write",
            "arc2face/dataset/export/lora.py write",
            "arc2face/dataset/export/recordio.py write",
            "arc2face/dataset/export/tars.py write",
            "arc2face/dataset/export/running.py _write_people",
            "arc2face/dataset/export/running.py _write_lost",
            "arc2face/dataset/export/place.py _settle",
        ),
        "into an export's temporary folder, which is renamed as a whole",
    ),
    "arc2face/dataset/export/place.py fresh_folder": "the lock of that folder has no contents",
    "arc2face/dataset/export/place.py _abandoned": "opened to try its lock",
    "arc2face/dataset/export/place.py _swap": "renames a folder in one step",
    "app/arc2face_app/runs/workspace.py __init__": "a probe that is removed at once",
}
WRITING_METHODS = {"write_text", "write_bytes", "save", "savez", "savez_compressed", "save_file", "tofile"}
WRITING_FUNCTIONS = {
    "shutil.copy",
    "shutil.copy2",
    "shutil.copyfile",
    "shutil.copytree",
    "shutil.move",
    "os.replace",
    "os.rename",
    "torch.save",
}
OPENERS = {"open", "ZipFile", "fdopen", "NamedTemporaryFile"}


def opens_for_writing(call: ast.Call) -> bool:
    words = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [ast.unparse(word) for word in words]
    return any(set(mode) & set("wax+") and set(mode) <= set("'rwaxbt+") for text in modes for mode in text.split()
               if mode.startswith("'"))  # fmt: skip


def writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    to_memory = any("buffer" in ast.unparse(word) for word in call.args[:1])
    if last in OPENERS:
        return opens_for_writing(call)
    return not to_memory and (name in WRITING_FUNCTIONS or (last in WRITING_METHODS and "." in name))


def within_the_door(node: ast.With) -> bool:
    entered = [ast.unparse(item.context_expr) for item in node.items]
    return any(word.startswith(("replace_with(", "owned(")) or ".replace_with(" in word for word in entered)


def writers(node: ast.AST, function: str = "module") -> Iterator[tuple[str, ast.Call]]:
    """Calls that write outside `with replace_with(...)`, and the function they stand in."""
    if isinstance(node, ast.With) and within_the_door(node):
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function = node.name
    if isinstance(node, ast.Call) and writes(node):
        yield function, node
    for child in ast.iter_child_nodes(node):
        yield from writers(child, function)


def test_every_writer_goes_through_the_door() -> None:
    """K9, K21, A3 and Medium: what writes by itself stands here with its reason, and nothing else does."""
    found: dict[str, str] = {}
    for folder in ("arc2face", "app", "external/emoca"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for function, call in writers(ast.parse(path.read_text("utf-8"))):
                found[f"{path.relative_to(PROJECT).as_posix()} {function}"] = ast.unparse(call)
    assert {place: call for place, call in found.items() if place not in ALLOWED} == {}
    assert set(ALLOWED) - set(found) == set(), "no longer there"


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("open(p, 'wb')", True),
        ("p.open('r+b')", True),
        ("p.open(mode='a')", True),
        ("open(p)", False),
        ("open(p, 'rb')", False),
        ("p.write_bytes(data)", True),
        ("image.save(buffer, 'PNG')", False),
        ("image.save(path)", True),
        ("with replace_with(t) as f:\n    f.write_bytes(d)", False),
    ],
)
def test_the_search_sees_writers(code: str, seen: bool) -> None:
    assert bool(list(writers(ast.parse(code)))) is seen


# Every writer of the project, by name: write(kind, folder, version) writes version 1 or 2 of one file, whole() tells
# which version a file holds, raising whatever its reader raises for a damaged one.
KINDS = (
    "picture",
    "plain",
    "identity",
    "bare",
    "expression",
    "ledger",
    "hashes",
    "zip",
    "sheet",
    "animation",
    "state",
    "head",
)
WRITE = """
import os, signal, sys, zipfile
from pathlib import Path
import numpy as np

folder, kind, version = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.environ["ARC2FACE_CACHE"] = str(folder)
from arc2face import GenerationRequest, IdentityEmbedding
from arc2face.types import Expression, GeneratedImage, GenerationResult

person = IdentityEmbedding(np.eye(512, dtype=np.float32)[version])
rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
rgb[0, 0] = version
made = GeneratedImage(rgb, version)

def result():
    recipe = {"format": 1, "settings": {}, "identity": {}}
    return GenerationResult((made,), GenerationRequest(identity=person), recipe, {})

def write():
    if kind == "picture":
        from arc2face import save_png
        save_png(made, result(), folder / "a.png")
    elif kind == "plain":
        from arc2face.pictures.saving import save_picture
        save_picture(rgb, folder / "a.png")
    elif kind == "identity":
        from arc2face.faces.identities import save_identity
        save_identity(folder / "a.npz", person)
    elif kind == "bare":
        from arc2face_app.cli.embed import _save
        _save(folder / "a.npy", person)
    elif kind == "expression":
        from arc2face.expression.values import save_expression
        values = np.zeros(55, np.float32)
        values[0] = version
        save_expression(folder / "a.json", Expression(values))
    elif kind == "ledger":
        from arc2face.weights.download.ledger import Entry, Ledger
        Ledger(folder).put("w", Entry(str(version) * 64, version))
    elif kind == "hashes":
        from arc2face.weights.store import _remember_hash
        _remember_hash("w", [version])
    elif kind == "zip":
        from arc2face_app.runs.files import zip_files
        zip_files([folder.parent / f"in-{version}"], folder / "a.zip")
    elif kind == "sheet":
        from arc2face.pictures.sheets import contact_sheet
        from arc2face.pictures.saving import save_picture
        save_picture(contact_sheet([rgb, rgb]), folder / "a.png")
    elif kind == "animation":
        from arc2face.pictures.animation import save_animation
        save_animation([rgb, rgb[::-1].copy()][: version], folder / "a.webp")
    elif kind == "state":
        import torch
        from arc2face.weights.store import _keep_converted
        _keep_converted({"t": torch.full((5000,), float(version))}, folder / "c" / "weights.safetensors", Path("w.bin"))
    elif kind == "head":
        import torch
        from arc2face_emoca.cache import _write
        _write(folder / "head.safetensors", {"t": torch.full((5000,), float(version))}, [folder.parent / "in-1"])
"""
# Killed at a stage of `replace_with`: before, in the middle of and after writing, in flushing, around the replacement.
KILLED = (
    WRITE
    + """
import arc2face.weights.writing as writing
stage = sys.argv[4]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def cut(path):
    with open(path, "rb+") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    die()
real_replace, real_make = os.replace, writing.tempfile.mkstemp
if stage == "made":
    writing.tempfile.mkstemp = lambda **options: (real_make(**options), die())
elif stage == "half":
    writing._sync = cut
elif stage == "written":
    writing._sync = die
elif stage == "flushed":
    os.replace = die
elif stage == "replaced":
    os.replace = lambda a, b: (real_replace(a, b), die())
write()
"""
)


def write(start: Start, folder: Path, kind: str, version: int, script: str = WRITE + "write()\n", *rest: str) -> int:
    for number in (1, 2):
        (folder.parent / f"in-{number}").write_bytes(bytes([number]) * 5000)
    process = start(script, folder, kind, version, *rest)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 3, -signal.SIGKILL), errors
    return process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@posix
@pytest.mark.parametrize("stage", ["made", "half", "written", "flushed", "replaced"])
def test_kill_9_at_every_stage_of_the_door(start: Start, tmp_path: Path, stage: str) -> None:
    """K21: the file is the old one or the new one, bit for bit, and the next writing is not disturbed."""
    folder = tmp_path / "out"
    write(start, folder, "expression", 1)
    old = contents(folder)
    write(start, tmp_path / "other", "expression", 2)
    new = contents(tmp_path / "other")
    assert write(start, folder, "expression", 2, KILLED, stage) == -signal.SIGKILL
    now = contents(folder)
    left = [name for name in now if name.startswith(TEMPORARY_PREFIX)]
    assert {name: now[name] for name in old} == (new if stage == "replaced" else old)
    assert len(now) - len(left) == 1 and len(left) == (stage != "replaced")
    assert write(start, folder, "expression", 2) == 0
    assert {name: data for name, data in contents(folder).items() if name not in left} == new


# Every writer in one process; each is killed, as a forked child, in the middle of writing.
EVERY = (
    WRITE
    + """
import arc2face.weights.writing as writing
mode = sys.argv[4]
def cut(handle):
    os.ftruncate(handle, os.fstat(handle).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)
import torch, arc2face_app.cli.embed, arc2face_app.runs.files, arc2face.faces.identities, arc2face.pictures.sheets
import arc2face.pictures.recipes, arc2face.expression.values, arc2face.weights.download.ledger
torch.set_num_threads(1)
from arc2face.errors import Arc2FaceError
from arc2face_emoca.cache import _UNFINISHED
def state():
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
root = folder
for kind in sys.argv[2].split(","):
    folder = root / kind
    os.environ["ARC2FACE_CACHE"] = str(folder)
    version = 1
    person = IdentityEmbedding(np.eye(512, dtype=np.float32)[1])
    write()
    old = state()
    assert len(old) == 1, (kind, list(old))
    version = 2
    person = IdentityEmbedding(np.eye(512, dtype=np.float32)[2])
    rgb[0, 0] = 2
    child = os.fork()
    if child == 0:
        if mode == "killed":
            os.fsync = cut
        else:
            import resource
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
        try:
            write()
        except Arc2FaceError as error:
            sys.stderr.write(f"{kind}: {error}\\n")
            os._exit(7)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    now = state()
    half = [n for n in now if Path(n).name.startswith(writing.TEMPORARY_PREFIX) or n.endswith(_UNFINISHED)]
    whole = {name: data for name, data in now.items() if name not in half}
    print(kind, status, whole == old, len(now) - len(whole), flush=True)
"""
)


@posix
@pytest.mark.parametrize("mode", ["killed", "full"])
def test_every_writer_is_killed_and_meets_a_full_disk(start: Start, tmp_path: Path, mode: str) -> None:
    """K9, K21, A2, A3: the file that was there is untouched; a full disk is said, and leaves nothing half."""
    (tmp_path / "out").mkdir()
    for number in (1, 2):
        (tmp_path / "out" / f"in-{number}").write_bytes(bytes([number]) * 5000)  # what the zip is made of
    process = start(EVERY, tmp_path / "out", ",".join(KINDS), 1, mode)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    killed, quiet = (
        -signal.SIGKILL,
        ("hashes", "state", "head"),
    )  # caches cost the next start some time, and nothing else
    wanted = [
        f"{kind} {killed} True 1" if mode == "killed" else f"{kind} {0 if kind in quiet else 7} True 0"
        for kind in KINDS
    ]
    assert output.splitlines() == wanted
    if mode == "full":
        refused = [line for line in errors.splitlines() if "could not be" in line]
        assert len(refused) >= len(KINDS) - len(quiet)
