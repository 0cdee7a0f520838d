"""Commands in messages are the ones that work where the user is."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from arc2face.advice import COMMANDS, Kind, kind_of, spoken

FETCH = "Run: arc2face download pose. The package arc2face stays arc2face."
EXTRA = 'This needs pyarrow. Run: pip install "arc2face-studio[dataset,ray]"'


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        (PurePosixPath("/home/a/project/.venv"), "pip"),
        (PurePosixPath("/usr"), "pip"),
        (PurePosixPath("/home/a/.local/share/pipx/venvs/arc2face-studio"), "pipx"),
        (PurePosixPath("/home/a/.local/share/uv/tools/arc2face-studio"), "uv"),
        (PurePosixPath("/home/a/.cache/uv/archive-v0/8sKd"), "uvx"),
        (PureWindowsPath("C:/Users/a/AppData/Roaming/uv/tools/arc2face-studio"), "uv"),
        (PureWindowsPath("C:/Users/a/AppData/Local/uv/cache/archive-v0/x"), "uvx"),
    ],
)
def test_the_environment_tells_how_it_was_installed(prefix: PurePosixPath, kind: Kind) -> None:
    assert kind_of(prefix) == kind
    assert kind_of(prefix, in_checkout=True) == "checkout"


@pytest.mark.parametrize(
    ("kind", "fetch", "extra", "package"),
    [
        ("checkout", "./run cli download", "./run install dataset ray", ".venv/bin/python -m pip install av."),
        ("pip", "arc2face download", 'pip install "arc2face-studio[dataset,ray]"', "pip install av."),
        ("pipx", "arc2face download", 'pipx install --force "arc2face-studio[', "pipx inject arc2face-studio av."),
        ("uv", "arc2face download", 'uv tool install "arc2face-studio[', "uv tool install --with av arc2face-studio."),
        ("uvx", "uvx arc2face-studio download", 'uvx "arc2face-studio[dataset,ray]"', "uvx --with av arc2face-studio."),
    ],
)
def test_commands_fit_the_installation(kind: Kind, fetch: str, extra: str, package: str) -> None:
    assert spoken(FETCH, kind) == f"Run: {fetch} pose. The package arc2face stays arc2face."
    assert extra in spoken(EXTRA, kind)
    assert spoken("MP4 needs one more package: pip install av. WebP needs nothing.", kind).endswith(
        f"{package} WebP needs nothing."
    )


def test_mediapipe_stays_in_a_checkout_only_with_its_variable() -> None:
    assert spoken('pip install "arc2face-studio[mediapipe]"', "checkout") == "ARC2FACE_MEDIAPIPE=1 ./run install"


def test_every_command_is_known() -> None:
    from arc2face_app.cli.root import app

    names = {one.name for one in (*app.registered_commands, *app.registered_groups)}
    assert names == set(COMMANDS)
