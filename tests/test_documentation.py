"""The pages name what exists, link to what exists, and agree with the configuration.

Run alone: ./run test tests/test_documentation.py
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def requirements(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in read(name).splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pins(name: str, python: str) -> dict[str, str]:
    """Version of each package that a list pins for one Python."""
    found: dict[str, str] = {}
    for one in requirements(name):
        if one.marker is None or one.marker.evaluate({"python_version": python, "python_full_version": python + ".0"}):
            key = canonicalize_name(one.name)
            assert key not in found, f"{name} pins {key} twice for Python {python}"
            found[key] = str(one.specifier).removeprefix("==")
    return found


def ranges(table: str, name: str) -> list[Requirement]:
    """One list of pyproject.toml, read as text: tomllib came with Python 3.11."""
    block = read("pyproject.toml").partition(f"\n[{table}]\n")[2]
    lines = re.search(rf"^{name} = \[(.*?)\]( #.*)?$", block, re.MULTILINE | re.DOTALL)
    assert lines, f"[{table}] has no {name}"
    return [Requirement(text) for text in re.findall(r'"([^"]+)"(?=[,\s]|$)', lines[1])]


def test_readme_names_every_adapter() -> None:
    from arc2face.diffusion.adapters import ADAPTERS

    folder = next(line for line in README.splitlines() if line.strip().startswith("adapters/"))
    for adapter in ADAPTERS:
        assert adapter.name in folder


def test_readme_names_every_tab() -> None:
    from arc2face_app.page.tabs import TABS

    tabs = next(line for line in README.splitlines() if line.strip().startswith("tabs/"))
    for tab in TABS:
        assert f"**{tab.TITLE}**" in README
        assert tab.__name__.rpartition(".")[2] in tabs


def test_readme_names_every_command_and_only_those() -> None:
    from arc2face_app.cli.root import app

    names = {one.name for one in (*app.registered_commands, *app.registered_groups)}
    shown = set(re.findall(r"^arc2face ([\w-]+)", README, re.MULTILINE))
    assert shown == names


def test_readme_commands_use_options_that_exist() -> None:
    import typer
    from typer.main import get_command

    from arc2face_app.cli.root import app

    group = get_command(app)
    commands = getattr(group, "commands", {})
    assert isinstance(app, typer.Typer)
    for line in re.findall(r"^arc2face (.+)$", README, re.MULTILINE):
        name, *words = shlex.split(line.partition("#")[0])
        command = commands[name]
        if words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
        for word in words:
            option = word.partition("=")[0]  # --yaw=-40:40
            assert not option.startswith("-") or option in known, f"arc2face {name} has no {option}"


def test_readme_names_every_feature() -> None:
    from arc2face.weights.table import FEATURES

    line = next(line for line in README.splitlines() if "features:" in line)
    for feature in FEATURES:
        assert re.search(rf"\b{feature}\b", line)


def test_readme_tree_is_true() -> None:
    block = README.partition("## Where things are")[2].split("```")[1]
    parents = [PROJECT]
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.split(r", ", line.strip().partition("  ")[0]):
            parents = parents[: depth + 1]
            found = list(parents[depth].glob(name.rstrip("/")))
            assert found, f"the tree names {name}, which does not exist"
            if name.endswith("/"):
                parents.append(found[0])
    for folder in PROJECT.iterdir():
        ours = folder.is_dir() and folder.name.isidentifier() and any(folder.glob("**/*.py"))
        assert not ours or f"\n{folder.name}/" in block, f"the tree lacks {folder.name}/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        destination = page.parent / path if path else page
        assert destination.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", destination.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile(page: Path) -> None:
    for example in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(example, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_example_imports_exist(page: Path) -> None:
    import arc2face

    for names in re.findall(r"^from arc2face import (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        for name in names.strip("()").split(","):
            assert name.strip() in arc2face.__all__


CORE = ["dependencies", "heif", "mp4"]
LISTS = {"requirements.txt": CORE, "requirements-dev.txt": [*CORE, "training", "original", "dev"]}
LISTS["constraints.txt"] = [*LISTS["requirements-dev.txt"], "cuda", "mediapipe"]
TABLES = {"dependencies": "project", "dev": "dependency-groups"}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LISTS)
def test_lists_hold_what_the_ranges_ask_for(name: str, python: str) -> None:
    """The three lists are written by `./run lock`; a range that changed without it shows here."""
    pinned = pins(name, python)
    for extra in LISTS[name]:
        for wanted in ranges(TABLES.get(extra, "project.optional-dependencies"), extra):
            if wanted.marker and not wanted.marker.evaluate({"python_version": python}):
                continue
            version = pinned.get(canonicalize_name(wanted.name))
            assert version, f"{name} lacks {wanted.name}; ./run lock writes it"
            assert version in wanted.specifier, f"{wanted} does not admit {version}; ./run lock writes {name}"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lists_agree(name: str, python: str) -> None:
    constraints = pins("constraints.txt", python)
    assert pins(name, python).items() <= constraints.items()


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_name_no_server_and_no_cuda_package_of_torch(name: str) -> None:
    text = read(name)
    assert "://" not in text
    assert not re.search(r"^(nvidia-|cuda-|triton)", text, re.MULTILINE)


def test_the_core_list_spares_what_only_training_and_the_original_need() -> None:
    core = pins("requirements.txt", "3.12")
    assert not {"accelerate", "peft", "pytest"} & set(core)
    assert {"accelerate", "peft", "pytest"} <= set(pins("requirements-dev.txt", "3.12"))


@pytest.mark.parametrize("python", PYTHONS)
def test_mediapipe_is_installed_only_on_request(python: str) -> None:
    """Its native library can report usage to its maker, so no list brings it unasked (docs/privacy.md)."""
    assert "mediapipe" in pins("constraints.txt", python)
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert "mediapipe" not in pins(name, python)
    assert "mediapipe" not in {wanted.name for wanted in ranges("project", "dependencies")}


@pytest.mark.parametrize("python", PYTHONS)
def test_opencv_packages_share_one_version(python: str) -> None:
    versions = {version for name, version in pins("constraints.txt", python).items() if name.startswith("opencv-")}
    assert len(versions) == 1


def test_space_header_matches_the_requirements() -> None:
    header = re.match(r"---\n(.*?)---\n", read("deploy/space/README.md"), re.DOTALL)
    assert header
    fields = dict(re.findall(r'^(\w+): "?([^"\n]*)"?$', header[1], re.MULTILINE))
    assert fields["sdk_version"] == pins("requirements.txt", "3.12")["gradio"]
    assert fields["python_version"] in ("3.10", "3.12")  # what ZeroGPU offers
    assert (PROJECT / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60


def test_the_proxy_example_keeps_the_port_and_takes_what_the_app_takes() -> None:
    """B2: pictures were broken on any port but 80 and 443, and photos over 32 MB were refused."""
    from arc2face.pictures.loading import MAX_FILE_BYTES

    block = (PROJECT / "docs" / "deploy.md").read_text("utf-8")
    assert f"client_max_body_size {MAX_FILE_BYTES >> 20}m;" in block
    assert "proxy_set_header Host $http_host;" in block


def test_readme_links_every_page() -> None:
    for page in (PROJECT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in README


def test_contributing_names_every_marker() -> None:
    markers = re.search(r"\nmarkers = \[(.*?)\n\]", read("pyproject.toml"), re.DOTALL)
    assert markers
    for marker in re.findall(r'"(\w+):', markers[1]):
        assert f"`{marker}`" in read("docs/contributing.md")


def test_install_page_names_every_variable_of_run() -> None:
    for variable in set(re.findall(r"ARC2FACE_[A-Z]+(?:_[A-Z]+)*", read("run"))):
        assert variable in read("docs/install.md")
