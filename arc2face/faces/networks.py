"""The face networks as insightface's own model classes, loaded one by one, quietly, with a provider that works.

insightface's convenience class loads every network in a folder, wrong recognisers included; these loaders open the
named file only. Pictures given to the returned classes are **B, G, R**, as insightface expects.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from arc2face.errors import Arc2FaceError, CorruptWeightsError, IncompatibleWeightsError, MissingWeightsError

if TYPE_CHECKING:
    import onnxruntime

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
ARENA_BYTES = 2 << 30
"""Most device memory that one face network may take; at 640 pixels the largest needs a tenth of it."""
LANDMARK_OUTPUTS = 3309  # 1103 points x 3, of which the last 68 are used


CUDA = "CUDAExecutionProvider"
Provider: TypeAlias = "str | tuple[str, dict[str, Any]]"


def usable_providers(wanted: Sequence[str] | None) -> list[str]:
    """The execution providers to try, CPU last.

    None means CUDA where onnxruntime has it. A wanted provider that this onnxruntime lacks is logged and left out.
    """
    import onnxruntime  # here, not above: building the page must not wait for it

    available = onnxruntime.get_available_providers()
    names = list(wanted) if wanted is not None else ["CUDAExecutionProvider"]
    chosen = [name for name in names if name in available and name != CPU]
    absent = [name for name in names if name not in available] if wanted is not None else []
    if absent:
        logger.warning(
            "onnxruntime here has no %s; the face networks run on the CPU. For CUDA install onnxruntime-gpu alone, "
            "without onnxruntime beside it.",
            ", ".join(absent),
        )
    return [*chosen, CPU]


class Session:
    """An onnxruntime session that goes on on the CPU when the accelerator fails in the middle (memory, cuDNN).

    It has the methods of `onnxruntime.InferenceSession` that insightface's classes use.
    """

    def __init__(self, path: Path, inner: onnxruntime.InferenceSession) -> None:
        self._path = path
        self._inner = inner

    def run(self, outputs: Sequence[str] | None, feed: dict[str, Any], options: Any = None) -> list[Any]:
        """See `onnxruntime.InferenceSession.run`."""
        try:
            return list(self._inner.run(outputs, feed, options))
        except Exception as error:  # onnxruntime raises its own, undocumented types
            if self.get_providers() == [CPU]:
                raise _failed(self._path, error) from error
            logger.warning("%s failed on %s (%s); from here on it runs on the CPU.", *self._names(error))
            self._inner = _session(self._path, [CPU])
            try:
                return list(self._inner.run(outputs, feed, options))
            except Exception as second:
                raise _failed(self._path, second) from second

    def get_inputs(self) -> list[Any]:
        """Inputs with `name` and `shape`."""
        return list(self._inner.get_inputs())

    def get_outputs(self) -> list[Any]:
        """Outputs with `name` and `shape`."""
        return list(self._inner.get_outputs())

    def get_providers(self) -> list[str]:
        """Names of the execution providers in use."""
        return list(self._inner.get_providers())

    def set_providers(self, providers: Sequence[Any], options: Sequence[dict[str, Any]] | None = None) -> None:
        """See `onnxruntime.InferenceSession.set_providers`."""
        self._inner.set_providers(providers, options)

    def _names(self, error: Exception) -> tuple[str, str, str]:
        return self._path.name, self.get_providers()[0], " ".join(str(error).split())[:160]


def open_session(path: Path, providers: Sequence[str] | None = None, device_id: int = 0) -> Session:
    """Open one ONNX file; falls back to the CPU, with a warning, where the accelerator does not start.

    Raises:
        MissingWeightsError: no such file.
        CorruptWeightsError: not a readable ONNX model.
    """
    if not path.is_file():
        raise MissingWeightsError(f"The face network {path.name} is missing. Fetch it with: arc2face download identity")
    names = usable_providers(providers)
    if names[0] == CUDA:
        _preload_cuda()
    wanted = [with_options(name, device_id) for name in names]
    try:
        session = _session(path, wanted)
    except Exception as error:  # onnxruntime raises its own, undocumented types
        if names == [CPU]:
            raise _corrupt(path, error) from error
        logger.warning("%s does not start on %s (%s); it runs on the CPU.", path.name, names[0], error)
        try:
            session = _session(path, [CPU])
        except Exception as second:
            raise _corrupt(path, second) from second
    if names[0] not in session.get_providers():
        logger.warning("%s runs on the CPU, because %s could not be started.", path.name, names[0])
    return Session(path, session)


def with_options(name: str, device_id: int = 0) -> Provider:
    """A provider as onnxruntime takes it: for CUDA on the device asked for, without a search per picture size.

    The default search of cuDNN tries every algorithm for every new input shape (up to a second each, and the ladder
    has seven); the default arena doubles each time it grows.
    """
    if name != CUDA:
        return name
    return name, {
        "device_id": device_id,
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": ARENA_BYTES,
    }


def load_detector(path: Path, providers: Sequence[str] | None = None, device_id: int = 0) -> Any:
    """Insightface's SCRFD; one session serves all input sizes."""
    session = open_session(path, providers, device_id)
    _expect(path, len(session.get_outputs()) in (9, 15), "a SCRFD detector with five points (9 or 15 outputs)")
    with understood(path):
        scrfd: Any = _insightface("scrfd").SCRFD(model_file=str(path), session=session, static_shape_sessions=False)
        scrfd.prepare(0, det_thresh=0.5)
        return scrfd


def load_recogniser(path: Path, providers: Sequence[str] | None = None, device_id: int = 0) -> Any:
    """Insightface's ArcFaceONNX; 112 x 112 in, 512 numbers out."""
    session = open_session(path, providers, device_id)
    taken, given = session.get_inputs()[0].shape, session.get_outputs()
    fits = list(taken[2:4]) == [112, 112] and len(given) == 1 and given[0].shape[-1] == 512
    _expect(path, fits, "an ArcFace recogniser (112 x 112 pixels in, 512 numbers out)")
    with understood(path):
        return _insightface("arcface_onnx").ArcFaceONNX(model_file=str(path), session=session)


def load_landmarks(path: Path, providers: Sequence[str] | None = None, device_id: int = 0) -> Any:
    """Insightface's Landmark for 1k3d68; 192 x 192 in, 68 points with depth out."""
    session = open_session(path, providers, device_id)
    taken, given = session.get_inputs()[0].shape, session.get_outputs()
    fits = list(taken[2:4]) == [192, 192] and len(given) == 1 and given[0].shape[-1] == LANDMARK_OUTPUTS
    _expect(path, fits, "the 68-point landmark network (192 x 192 pixels in, 3309 numbers out)")
    with understood(path):
        return _insightface("landmark").Landmark(model_file=str(path), session=session)


@contextmanager
def understood(path: Path) -> Generator[None]:
    """What insightface's classes raise for a network whose outputs are not what they expect, as one error."""
    try:
        yield
    except (Arc2FaceError, MemoryError):
        raise
    except Exception as error:  # wrong shapes surface as any type of NumPy's, OpenCV's and their own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise IncompatibleWeightsError(
            f"{path.name} gives no usable results ({reason}). Fetch it with: arc2face download identity"
        ) from error


def _insightface(module: str) -> Any:
    # insightface 2.1 calls a method that scikit-image has deprecated, on every face
    warnings.filterwarnings("ignore", message="`estimate` is deprecated", category=FutureWarning)
    try:
        return importlib.import_module(f"insightface.model_zoo.{module}")
    except ImportError as error:
        raise MissingWeightsError("The package insightface cannot be imported. Run: pip install insightface") from error


def _session(path: Path, providers: Sequence[Provider]) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: the models' unused initialisers fill the terminal otherwise
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=list(providers))


def _preload_cuda() -> None:
    """Let onnxruntime find CUDA and cuDNN inside the Python environment, where it can."""
    import onnxruntime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    try:
        preload()
    except Exception as error:
        logger.debug("onnxruntime could not preload the CUDA libraries: %s", error)


def _expect(path: Path, fits: bool, what: str) -> None:
    if not fits:
        raise IncompatibleWeightsError(f"{path.name} is not {what}. Fetch it with: arc2face download identity")


def _corrupt(path: Path, error: Exception) -> CorruptWeightsError:
    reason = " ".join(str(error).split())[:160]
    return CorruptWeightsError(
        f"{path.name} cannot be opened ({reason}). Delete it and fetch it again: arc2face download identity"
    )


def _failed(path: Path, error: Exception) -> CorruptWeightsError:
    reason = " ".join(str(error).split())[:160]
    return CorruptWeightsError(
        f"{path.name} failed ({reason}). It may be damaged; fetch it again: arc2face download identity"
    )
