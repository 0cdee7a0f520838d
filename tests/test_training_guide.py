"""docs/training.md, command by command at toy size: from the base model's files to a picture drawn with the export.

The commands are read from the page; toy sizes are added behind them. Downloads are replaced by what they would bring.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTextModel
from typer.testing import CliRunner

from arc2face_app.cli.root import app
from tests.tiny_faces import blank, draw_face, write_antelopev2

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
TOY = ["data.size=64", "loop.steps=2", "loop.batch_size=2", "loop.accumulate=1", "loop.workers=0", "loop.log_every=1",
       "loop.validate_every=2", "loop.keep_every=1", "loop.warmup=1", "loop.threads=1"]  # fmt: skip


def commands() -> list[list[str]]:
    """Every command of the page's first part, as words."""
    part = PAGE.partition("## From Stable Diffusion")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", part, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def photos(folder: Path, places: list[str]) -> None:
    """Photos of drawn faces; one colour per folder."""
    for number, place in enumerate(places):
        picture = blank(96, 96)
        colour = np.random.default_rng(len(place.partition("/")[0])).integers(0, 255, 3)
        draw_face(picture, 48, 46 + number % 2, 20, tuple(int(c) for c in colour))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / place)


def base_model(tiny: Path, models: Path) -> dict[str, Path]:
    """The app's models at tiny size in `models`; returns where the base model's further parts wait to be downloaded."""
    shutil.copytree(tiny / "stable-diffusion-v1-5", models / "stable-diffusion-v1-5")
    write_antelopev2(models / "antelopev2")
    shutil.copy(tiny / "models" / "bundle.json", models)
    encoder = models.parent / "hub" / "text_encoder"
    CLIPTextModel.from_pretrained(tiny / "models" / "encoder").save_pretrained(encoder)
    return {"unet": tiny / "models" / "arc2face", "text_encoder": encoder}


def test_the_guide_leads_from_the_base_model_to_a_picture(
    tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8: `full` could not be started from the docs. 1 to 6 of the page, in order; nothing else is done in between."""
    monkeypatch.chdir(tmp_path)
    waiting = base_model(tiny_tree, tmp_path / "models")
    photos(tmp_path / "photos", ["ann/1.png", "ann/2.png", "bobby/1.png", "bobby/2.png"])
    photos(tmp_path / "data" / "ffhq", ["00000/00000.png", "00000/00001.png", "01000/01000.png"])
    photos(tmp_path / "data" / "celebahq", ["a/1.png", "a/2.png"])
    runner, done = CliRunner(), list[str]()
    for words in commands():
        tool, arguments = words[0], words[1:]
        if tool == "hf":
            part, target = arguments[2].partition("/")[0], tmp_path / arguments[-1] / arguments[2].partition("/")[0]
            if part == "unet":
                refused = runner.invoke(app, ["train", "unet", "--config", "full", "data.path=data/aligned", *TOY])
                assert refused.exit_code != 0
            shutil.copytree(waiting[part], target)
            assert all((tmp_path / arguments[-1] / name).is_file() for name in arguments[2:4])
            done.append(f"hf {part}")
        elif tool == "cp":
            for source in arguments[1:-1]:
                shutil.copytree(tmp_path / source, tmp_path / arguments[-1] / Path(source).name)
        elif tool == "arc2face" and arguments[0] != "download":
            sizes = {"train": TOY, "annotate": ["--size", "64"], "generate": ["--steps", "2", "--size", "64"]}
            given = sizes[arguments[0]]
            arguments = [word.replace("checkpoint-00050000", "checkpoint-00000001") for word in arguments]
            result = runner.invoke(app, [*arguments, *given])
            assert result.exit_code == 0, (arguments, result.output, result.exception)
            done.append(" ".join(arguments[:2]))
    annotated = ["annotate photos", "annotate data/ffhq", "annotate data/celebahq"]
    trained = ["train unet"] * 4
    assert done == ["hf unet", "hf text_encoder", *annotated, *trained, "generate photos/ann/1.png"]
    assert (tmp_path / "data/ffhq.annotations/00000.state.npy").exists()
    assert len(list((tmp_path / "data/aligned").glob("*.tar"))) == 1
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 1


def test_the_page_names_messages_and_settings_that_exist() -> None:
    from arc2face_training.common.settings import LoopConfig
    from arc2face_training.common.sources import DataConfig

    known = {f"loop.{name}" for name in LoopConfig.__dataclass_fields__}
    known |= {f"data.{name}" for name in DataConfig.__dataclass_fields__}
    named = set(re.findall(r"\b((?:loop|data)\.[a-z_0-9]+)", PAGE))
    assert named - known == set()
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "training").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)
    for message in ("which `start: base` trains from", "numbers per token, but the UNet takes", "are not people",
                    "or they changed since", "was made with other settings", "MB are free"):  # fmt: skip
        assert message in joined and message.replace("`", "") in PAGE.replace("`", "")
