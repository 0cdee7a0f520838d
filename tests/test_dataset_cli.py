"""`arc2face dataset` on the command line, and docs/dataset.md: its commands in their order, its catalogue, its Python.

Run alone: ./run test tests/test_dataset_cli.py
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.verify import verify
from arc2face_app.cli import main
from arc2face_app.cli.dataset_results import EXPORTS
from arc2face_app.cli.root import app
from tests.app import bundle

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "dataset.md").read_text("utf-8")
Run = Callable[..., tuple[int, str, str]]
ELSEWHERE = ("/share/", "cuda:", "--ray")
"""What the commands of other machines, and Ray's start of half a minute, are known by; a test of its own runs Ray."""


@pytest.fixture(scope="module")
def models(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.make_bundle(tiny_tree, tmp_path_factory.mktemp("dataset") / "tree")


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


def write_people(folder: Path) -> None:
    """Two people with photos, a list of embeddings, and the page's catalogue."""
    for name, colour in (("anna", bundle.GREEN), ("ben", bundle.YELLOW)):
        (folder / "photos" / name).mkdir(parents=True)
        bundle.person_photo(folder / "photos" / name / "1.png", colour)
    np.save(folder / "people.npy", np.random.default_rng(1).standard_normal((6, 512)).astype(np.float32))
    (folder / "catalogue.json").write_text(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0], "utf-8")


def commands() -> list[list[str]]:
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    found = [line.partition("#")[0].strip().removeprefix("srun ") for line in lines]
    return [shlex.split(line)[1:] for line in found if line.startswith("arc2face ")]


def test_the_pages_commands_run_in_their_order(run: Run, tmp_path: Path) -> None:
    write_people(tmp_path)
    told: dict[tuple[str, ...], str] = {}
    for words in commands():
        if any(mark in word for word in words for mark in ELSEWHERE) or "cpu,cpu" in words:
            continue
        if words[1] == "plan":  # the page's numbers and the models' own size would only cost time here
            words = [{"8": "2"}.get(word, word) for word in words] + ["--size", "64"]
        code, out, err = run(*words)
        assert code == 0, f"arc2face {shlex.join(words)}: {err}"
        told[tuple(words[:2])] = out
    assert {words[1] for words in told} == {"plan", "run", "status", "verify", "report", "export"}
    faces = DatasetFolder(tmp_path / "faces")
    rows = list(faces.rows())
    assert verify(faces).complete and len(rows) == 4
    assert {row.identity for row in rows} == {"anna", "ben"} and all(row.yaw is not None for row in rows)
    assert {row.expression_name for row in rows} == {"Neutral", "Mouth open"}
    assert (tmp_path / "faces" / "report" / "report.md").is_file()
    assert list((tmp_path / "faces-webdataset").glob("*.tar"))
    assert "4 of 4 pictures" in told["dataset", "status"]
    talking = json.loads((tmp_path / "talking" / "plan.json").read_text("utf-8"))
    assert [entry["name"] for entry in talking["schedule"]["expressions"]] == ["calm", "talking", "winking"]


def test_the_pages_other_commands_have_options_that_exist() -> None:
    group: Any = get_command(app)
    known = {name: {text for option in one.params for text in option.opts} for name, one in subcommands(group).items()}
    for words in commands():
        for word in words[2:]:
            name = word.partition("=")[0]
            assert not word.startswith("-") or name in known[words[1]], f"arc2face dataset {words[1]} has no {name}"


def subcommands(group: Any) -> dict[str, Any]:
    return group.commands["dataset"].commands


def test_the_pages_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the run itself, which is on two GPUs there."""
    from arc2face.dataset.identities import Identities

    monkeypatch.chdir(tmp_path)
    Identities(("a", "b"), np.eye(2, 512), ("", "")).save(tmp_path / "identities.npz")
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0].partition("run(folder")[0]
    names: dict[str, Any] = {}
    exec(compile(block, "dataset.md", "exec"), names)
    assert names["folder"].plan.is_file() and names["plan"].pictures == 8


def test_help_names_every_export() -> None:
    from arc2face.dataset.export import FORMATS

    assert list(EXPORTS) == list(FORMATS)


def test_answers_in_json_and_errors_in_a_sentence(run: Run, tmp_path: Path) -> None:
    write_people(tmp_path)
    plan = ["dataset", "plan", "people.npy", "-o", "faces", "-n", 2, "--fast", "--size", 64, "--json"]
    code, out, _ = run(*plan, "--measure")
    facts = json.loads(out)
    assert (code, facts["people"], facts["pictures"], facts["shards"]) == (0, 6, 12, 6) and facts["seconds"] > 0
    code, out, _ = run("dataset", "run", "faces", "--shard", "1/2", "--json")
    assert code == 0 and (json.loads(out)["shards"], json.loads(out)["drawn"]) == (3, 3)
    code, out, _ = run("dataset", "status", "faces", "--json")
    assert (json.loads(out)["shards"], json.loads(out)["complete"]) == (3, False)
    (tmp_path / "faces" / "shards" / "00001.tar").write_bytes(b"")
    code, out, _ = run("dataset", "verify", "faces", "--json")
    assert code == 1 and json.loads(out)["faults"][0]["shard"] == 1

    for words, text in (
        ([*plan, "--seed", 1], "holds another plan"),
        (["dataset", "run", "nowhere"], "holds no data set"),
        (["dataset", "run", "faces", "--shard", "2/2"], "The part"),
        (["dataset", "run", "faces", "--workers", 2], "belong to --ray"),
        (["dataset", "run", "faces", "--ray", "local", "--devices", "cpu"], "give one of them"),
        (["dataset", "plan", "people.npy", "-o", "new", "--yaw", "left"], "Angles for yaw"),
        (["dataset", "plan", "people.npy", "-o", "new", "-e", "Grin"], "no preset 'Grin'"),
        (["dataset", "plan", "people.npy", "-o", "new", "--decoder", "auto"], "exact or small"),
        (["dataset", "plan", "nobody", "-o", "new"], "nobody does not exist"),
        (["dataset", "export", "faces", "--to", "zip", "-o", "out"], "export format"),
    ):
        code, out, err = run(*words)
        assert code == 1 and text in " ".join(err.split()), (words, err)
    assert not (tmp_path / "new").exists()
