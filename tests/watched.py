"""Programs in a child process that nothing escapes from unseen: connections, look-ups of names, and files.

    with Watch(tmp_path) as watch:
        watch.run([sys.executable, "-c", "..."])
        assert watch.contacts() == []
        assert watch.appeared() == []

Three nets: a proxy that every proxy variable names; an audit hook in each Python of the family; and, where strace
works, the system calls of native code. Home, temporary folder and working folder are the child's own, and nothing that
the tests set to keep libraries quiet or offline is passed on.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

from scripts.checkout import python_path

LIMIT = 240
HOOK = """
import os, sys

def _watch():
    handle = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(event, where):
        if isinstance(where, (bytes, bytearray)):
            where = where.decode("latin-1")
        os.write(handle, f"{event} {where}\\n".encode())

    def hook(event, arguments):
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if isinstance(address, tuple):
                note(event, address[0])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
            first = arguments[0]
            first = first[0] if isinstance(first, tuple) else first
            if first:
                note(event, first)

    sys.addaudithook(hook)

_watch()
"""
_ADDRESS = re.compile(r'^(?:\d+ +)?(\w+)\(.*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")')
_NAME_SERVER = "_port=htons(53)"
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "ONEDNN_MAX_CPU_ISA", "SYSTEMROOT")


class _Proxy(BaseRequestHandler):
    def handle(self) -> None:
        line = self.request.recv(4096).split(b"\r\n")[0]
        self.server.asked.append(line.decode("latin-1"))  # type: ignore[attr-defined]
        self.request.sendall(b"HTTP/1.1 502 Nothing leaves this machine\r\nContent-Length: 0\r\n\r\n")


@functools.cache
def why_no_strace() -> str:
    """Why system calls cannot be watched here; empty when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", *_STRACE, os.devnull, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()[:200]}"


_CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
_STRACE = ("-f", "--seccomp-bpf", "-qqq", "-s", "0", "-e", _CALLS, "-e", "signal=none", "-o")


class Watch:
    """A private world below `root`, and what happens in it. `xdg`: folders of the XDG variables; else those of HOME."""

    def __init__(self, root: Path, *, xdg: bool = False) -> None:
        self.world = root / "world"
        self._nets = root / "nets"
        for name in ("home", "tmp", "work"):
            (self.world / name).mkdir(parents=True)
        (self._nets / "hook").mkdir(parents=True)
        (self._nets / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self._log = self._nets / "hook.log"
        self._proxy: Any = ThreadingTCPServer(("127.0.0.1", 0), _Proxy)
        self._proxy.daemon_threads = True
        self._proxy.asked = []
        self._running: list[subprocess.Popen[bytes]] = []
        self.environment = self._environment(xdg)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._proxy.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # strace alone would leave its program running
            process.wait()
        self._proxy.shutdown()
        self._proxy.server_close()

    @property
    def work(self) -> Path:
        """Where programs run, and where their results belong."""
        return self.world / "work"

    def start(self, command: Sequence[object]) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own; it is killed at the end of the block at the latest."""
        number = len(self._running)
        trace = ["strace", *_STRACE, str(self._nets / f"{number}.strace")] if not why_no_strace() else []
        with (self._nets / f"{number}.out").open("wb") as out:
            process = subprocess.Popen(
                [*trace, *map(str, command)], cwd=self.work, env=self.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(process)
        return process

    def run(self, command: Sequence[object], codes: Sequence[int] = (0,)) -> str:
        """Run a program to its end; returns what it printed."""
        process = self.start(command)
        process.wait(LIMIT)
        printed = self.printed(process)
        assert process.returncode in codes, f"{command}: {process.returncode}\n{printed}"
        return printed

    def printed(self, process: subprocess.Popen[bytes]) -> str:
        """What a program has printed so far."""
        return (self._nets / f"{self._running.index(process)}.out").read_text(encoding="utf-8", errors="replace")

    def contacts(self) -> list[str]:
        """Everything that was contacted or looked up besides this machine, and whatever reached the proxy."""
        seen = [f"proxy: {line}" for line in self._proxy.asked]
        return seen + self.python_contacts() + self.native_contacts()

    def python_contacts(self) -> list[str]:
        """What the audit hook saw."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.is_file() else []
        return [line for line in lines if not is_local(line.partition(" ")[2])]

    def native_contacts(self) -> list[str]:
        """What strace saw."""
        found: list[str] = []
        for trace in sorted(self._nets.glob("*.strace")):
            for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
                match = _ADDRESS.search(line)
                # A name server is asked for somebody else's name, even where it listens on this machine.
                if match and (_NAME_SERVER in line or not is_local(match[2] or match[3])):
                    found.append(f"{match[1]} {match[2] or match[3]}")
        return found

    def appeared(self) -> list[str]:
        """All files and links below the private folders, and folders with nothing in them, as `home/.cache/...`."""
        found: list[Path] = []
        for name, folders, files in os.walk(self.world):  # what goes away meanwhile is passed over
            folder = Path(name)
            links = [each for each in folders if (folder / each).is_symlink()]
            found += [folder / each for each in (*files, *links)]
            if not folders and not files and folder.parent != self.world:
                found.append(folder)
        return sorted(path.relative_to(self.world).as_posix() for path in found)

    def _environment(self, xdg: bool) -> dict[str, str]:
        proxy = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
        proxies = {name: proxy for each in names for name in (each, each.lower())}
        path = python_path(self._nets / "hook").split(os.pathsep)
        kinds = ("CACHE", "DATA", "CONFIG", "STATE")
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            **proxies,
            **({f"XDG_{kind}_HOME": str(self.world / f"xdg-{kind.lower()}") for kind in kinds} if xdg else {}),
            "HOME": str(self.world / "home"),
            "TMPDIR": str(self.world / "tmp"),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WATCH_LOG": str(self._log),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }


def is_local(host: str) -> bool:
    """Whether an address or name is this machine's own loopback, or "any address" of a socket that listens."""
    if host in ("localhost", "", "None"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with size and time of change, to compare before and after."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def python(script: str, *arguments: object) -> list[object]:
    """A command line for a short script."""
    return [sys.executable, "-c", script, *arguments]


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
