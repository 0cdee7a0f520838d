"""The house rules that a program can check: imports, safe loading, file sizes.

Run alone: ./run test tests/test_contracts.py
"""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("arc2face", "app", "external/emoca", "training", "scripts")
FORBIDDEN = {"torchvision", "timm", "chumpy", "pytorch_lightning", "lightning", "face_alignment", "omegaconf", "peft"}
MAX_LINES = 400
MAX_MEDIAN_LINES = 170


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders or PACKAGES for path in (PROJECT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def python(code: str, *, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    path = python_path()
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command as run; run(['--no-cache', '--no-logo'])"
    done = python(code)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("arc2face", ("torch", "diffusers", "numpy")),
        ("arc2face.weights.download", ("torch", "numpy", "gradio")),
        ("arc2face.doctor", ("torch", "diffusers", "gradio")),
        ("arc2face.types", ("torch", "gradio")),
        ("arc2face_app.cli", ("torch", "gradio", "diffusers")),
        ("arc2face_app.ui", ("torch", "diffusers", "transformers")),
    ],
)
def test_light_modules_stay_light(module: str, absent: tuple[str, ...]) -> None:
    done = python(f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("script", ["download_models.py", "lock_packages.py", "settle_packages.py"])
def test_scripts_run_without_any_package(script: str, tmp_path: Path) -> None:
    # -S leaves site-packages out, -E the environment: what remains is Python itself.
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(PROJECT / "scripts" / script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_emoca_needs_torch_and_numpy_only() -> None:
    allowed = {"torch", "numpy", "arc2face_emoca", "safetensors", "pytorch3d", *sys.stdlib_module_names}
    found = {(path.name, name) for path in sources("external/emoca") for name in imported(path)}
    assert not {(path, name) for path, name in found if name not in allowed}


def test_only_training_imports_what_only_its_extra_brings() -> None:
    """Point 8 of the house: `accelerate` and the rest of the extra `training` are no part of the core list."""
    extra = {"accelerate", "onnx", "onnxscript", "tensorboard", "yaml"}
    found = {
        (str(path.relative_to(PROJECT)), name)
        for path in sources("arc2face", "app", "external/emoca", "scripts")
        for name in imported(path)
    }
    assert not {(path, name) for path, name in found if name in extra}


def test_no_file_imports_a_package_we_avoid() -> None:
    found = {(str(path.relative_to(PROJECT)), name) for path in sources() for name in imported(path)}
    assert not {(path, name) for path, name in found if name in FORBIDDEN}


def test_torch_load_is_always_weights_only() -> None:
    calls = 0
    for path in sources(*PACKAGES, "tests", "bench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                calls += 1
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert options.get("weights_only") == "True", f"{path}:{node.lineno}"
    assert calls


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    long = {str(path.relative_to(PROJECT)): count for path, count in lengths.items() if count > MAX_LINES}
    assert not long
    assert statistics.median(count for count in lengths.values() if count >= 3) <= MAX_MEDIAN_LINES


def test_library_never_prints() -> None:
    for path in sources("arc2face", "external/emoca"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                assert any(option.arg == "file" for option in node.keywords), f"{path}:{node.lineno} prints"


def test_public_names_resolve() -> None:
    import arc2face

    for name in arc2face.__all__:
        assert getattr(arc2face, name) is not None
    assert set(dir(arc2face)) == set(arc2face.__all__)
    with pytest.raises(AttributeError):
        _ = arc2face.no_such_name


def test_shell_scripts_parse_and_explain_themselves() -> None:
    for script in ("run", ".ci/run"):
        subprocess.run(["bash", "-n", script], cwd=PROJECT, check=True)
    helped = subprocess.run(["bash", "run", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "./run test" in helped.stdout
    unknown = subprocess.run(["bash", "run", "tset"], cwd=PROJECT, capture_output=True, text=True)
    assert unknown.returncode == 1
    assert "unknown command: tset" in unknown.stderr


def test_run_finds_every_package_of_the_checkout(tmp_path: Path) -> None:
    """`./run` starts the packages in place; `emoca` lies in a folder of its own."""
    stamp = PROJECT / ".venv" / ".arc2face-app"
    if not stamp.is_file():
        pytest.skip("this checkout was not set up with ./run")
    target = tmp_path / "map.png"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = ["./run", "cli", "pose", "--yaw", "30", "--map-only", "--save-normal-map", str(target)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 1000
