"""Everything that can be asked for is documented: commands, options, variables, endpoints, nodes. Adapters, tabs,
features and checkpoints: `test_documentation.py` and `test_weights.py`.

Run alone: ./run test tests/test_documented.py
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from arc2face_app.cli.root import app
from scripts.make_cli_page import PAGE, VARIABLES, commands, page

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
SOURCES = ("arc2face", "app", "external", "training", "deploy", "comfyui")
COMMANDS: dict[str, Any] = dict(commands(get_command(app)))
NOT_VARIABLES = {"ARC2FACE_IDENTITY", "ARC2FACE_POSE", "ARC2FACE_EXPRESSION", "ARC2FACE_LOOK", "ARC2FACE_NOT_LIKE"}
"""Names of ComfyUI's wires that look like variables; ARC2FACE_MODELS is both."""


def text_of(*patterns: str) -> str:
    paths = [path for pattern in patterns for path in sorted(PROJECT.glob(pattern))]
    assert paths
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def test_the_page_of_commands_is_that_of_the_commands() -> None:
    """Every command and option, with its help: `python -m scripts.make_cli_page` writes docs/cli.md."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_option_says_what_it_does() -> None:
    silent = [
        f"{name} {option.opts[0]}"
        for name, command in COMMANDS.items()
        for option in command.params
        if not (option.help or "").strip()
    ]
    assert not silent


def test_every_variable_is_documented() -> None:
    named = re.compile(r"\b(?:(?:ARC2FACE|EMOCA)_[A-Z0-9_]*[A-Z0-9]|PEOPLE_(?:RASTER|SAMPLES))\b")
    code = text_of(*(f"{folder}/**/*.py" for folder in SOURCES), "space.py", "run", "Dockerfile", "tests/conftest.py")
    found = set(named.findall(code)) - NOT_VARIABLES
    documented = set(named.findall(PAGE.read_text(encoding="utf-8")))
    assert found - documented == set()
    assert {name for name in VARIABLES if name not in found} == set()


def test_every_endpoint_is_documented_and_no_other() -> None:
    code = text_of("app/arc2face_app/api/*.py")
    names = set(re.findall(r'publish\(\s*"(\w+)"', code))
    table = text_of("docs/api.md").partition("| endpoint |")[2].partition("\n\n")[0]
    shown = set(
        re.findall(r"`/(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row.count("|") > 2))
    )
    assert len(names) > 10 and shown == names


def test_every_node_is_documented() -> None:
    names = re.findall(r'display_name="([^"]+)",\n\s+category', text_of("comfyui/nodes/*.py"))
    shown = text_of("docs/comfyui.md")
    assert len(names) == 18
    assert [name for name in names if name not in shown] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_shown_exists(path: Path) -> None:
    """Each `arc2face ...` line of a page names a command, and options that it has."""
    blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    for line in re.findall(r"^(?:\$ )?(?:arc2face|\./run cli) (.+)$", text, re.MULTILINE):
        words = shlex.split(line.partition(" #")[0])
        name = next(
            (f"arc2face {' '.join(words[:k])}" for k in (2, 1) if f"arc2face {' '.join(words[:k])}" in COMMANDS), ""
        )
        assert name or words[0].startswith("-"), f"{path.name}: there is no command arc2face {' '.join(words[:2])}"
        if name:
            known = {text for option in COMMANDS[name].params for text in (*option.opts, *option.secondary_opts)}
            used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
            assert used - known - {"--help", "--debug"} == set(), f"{path.name}: {name}"
