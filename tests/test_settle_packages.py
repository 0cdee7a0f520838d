"""Which of the packages that share a folder stay. Run alone: ./run test tests/test_settle_packages.py"""

from __future__ import annotations

import pytest

from scripts.settle_packages import Swap, installed_names, main, numbers, plan

CPU = {"insightface", "onnxruntime", "opencv-python"}


def settle(installed: set[str], *, cuda: bool = False, cv2_works: bool = True) -> list[Swap]:
    return plan(frozenset(installed), cuda=cuda, cv2_works=cv2_works)


def test_a_clean_environment_is_left_alone() -> None:
    assert settle(CPU) == []
    assert settle({"numpy"}) == []
    assert settle({"insightface", "onnxruntime-gpu", "opencv-python-headless"}, cuda=True) == []
    assert settle({"mediapipe", "onnxruntime", "opencv-contrib-python"}) == []


def test_cuda_replaces_the_runtime_and_nothing_else() -> None:
    (swap,) = settle(CPU, cuda=True)
    assert swap.remove == ("onnxruntime",)
    assert swap.install == "onnxruntime-gpu"


@pytest.mark.parametrize(("cuda", "wanted"), [(True, "onnxruntime-gpu"), (False, "onnxruntime")])
def test_a_mixed_runtime_is_removed_as_a_whole(cuda: bool, wanted: str) -> None:
    (swap,) = settle({*CPU, "onnxruntime-gpu"}, cuda=cuda)
    assert swap.remove == ("onnxruntime", "onnxruntime-gpu")
    assert swap.install == wanted


def test_mediapipe_beside_insightface_leaves_the_larger_opencv() -> None:
    (swap,) = settle({*CPU, "mediapipe", "opencv-contrib-python"})
    assert swap.remove == ("opencv-contrib-python", "opencv-python")
    assert swap.install == "opencv-contrib-python-headless"


def test_opencv_without_its_graphics_library_becomes_headless() -> None:
    (swap,) = settle(CPU, cv2_works=False)
    assert swap.remove == ("opencv-python",)
    assert swap.install == "opencv-python-headless"
    assert "unusable" in swap.reason


def test_settling_twice_changes_nothing_more() -> None:
    installed = {*CPU, "mediapipe", "opencv-contrib-python"}
    for swap in settle(installed, cuda=True, cv2_works=False):
        installed = installed - set(swap.remove) | {swap.install}
    assert settle(installed, cuda=True) == []


def test_this_environment_is_settled(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pytest" in installed_names()
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_opencv_versions_are_compared_as_numbers() -> None:
    assert max(("4.9.0", "4.10.0.84", "4.10.0.9"), key=numbers) == "4.10.0.84"
