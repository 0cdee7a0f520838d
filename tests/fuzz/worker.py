"""The process in which inputs meet the doors: bounded memory, bounded work, and it may die.

Reads a line {"door", "path"} per input from standard input and answers with one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

PROJECT = Path(__file__).resolve().parents[2]
ROOM = 1 << 30
"""Bytes that one input may take on top of what the process holds."""
SECONDS = 10
"""Processor time that one input may take; more ends the process with SIGPROF, whatever it is doing."""
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
_SHORT = re.compile(r"alloc|out of memory|enough memory", re.IGNORECASE)
"""How the libraries in C++ say that memory ran out."""
_ran: list[str] = []


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if event in _FORBIDDEN:
        _ran.append(event)


def _status() -> dict[str, int]:
    """Bytes by kind of memory."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _limit(room: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = resource.RLIM_INFINITY if room is None else _status()["VmSize"] + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _enter(door: Any, path: Path) -> dict[str, Any]:
    """What came of one input: `kind` accepted, refused or failed, and why."""
    from arc2face.errors import Arc2FaceError
    from arc2face_emoca.errors import EmocaError
    from tests.fuzz.requests import Refused

    try:
        door.enter(path)
        return {"kind": "accepted"}
    except (Arc2FaceError, EmocaError, Refused) as error:
        text = str(error)
        if any(isinstance(each, MemoryError) or _SHORT.search(str(each)) for each in _causes(error)):
            return {"kind": "failed", "why": "MemoryError", "text": text[:300]}
        try:
            text.encode()
        except UnicodeEncodeError:
            return {"kind": "failed", "why": "unprintable message", "text": ascii(text)[:300]}
        if not text.strip() or len(text) > 1000:
            return {"kind": "failed", "why": "useless message", "text": text[:300]}
        return {"kind": "refused", "why": type(error).__name__, "text": text[:300]}
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = next(
            (each for each in reversed(place) if "arc2face" in each.filename or "emoca" in each.filename), place[-1]
        )
        why = f"{type(error).__name__} at {Path(ours.filename).name}:{ours.lineno}"
        return {"kind": "failed", "why": why, "text": ascii(str(error))[:300]}


def _measured(door: Any, path: Path) -> dict[str, Any]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _status()["VmRSS"], time.process_time()
    _ran.clear()
    _limit(ROOM)
    signal.setitimer(signal.ITIMER_PROF, SECONDS if door.names else 1.0)  # a trap is not waited for
    try:
        found = _enter(door, path)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _limit(None)
    found |= {"seconds": time.process_time() - start, "bytes": max(0, _status()["VmHWM"] - before)}
    if _ran:
        found |= {"kind": "failed", "why": f"ran {_ran[0]}"}
    if found["bytes"] > ROOM:
        found |= {"kind": "failed", "why": "more than 1 GB"}
    return found


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answer until the input ends."""
    import torch

    from tests.fuzz.doors import DOORS
    from tests.fuzz.traps import TRAPS

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    ready: set[str] = set()
    for line in lines:
        order = json.loads(line)
        door, path = {**DOORS, **TRAPS}[order["door"]], Path(order["path"])
        if door.name not in TRAPS and door.name not in ready:  # libraries load late; that is not the input's doing
            _enter(door, Path(order["valid"]))
            ready.add(door.name)
        print(json.dumps(_measured(door, path)), file=answers, flush=True)


if __name__ == "__main__":
    sys.addaudithook(_watch)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers goes to the one who asks
    serve(sys.stdin, answers)
