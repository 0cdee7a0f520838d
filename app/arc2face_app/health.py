"""Whether the server of this container answers: `python -m arc2face_app.health`, exit code 0 or 1.

It asks for the head of the page, which costs the server nothing, where `ARC2FACE_HOST` and `ARC2FACE_PORT` say. Whether
the models are right is a question for `arc2face doctor`: a restart would not mend them.
"""

from __future__ import annotations

import http.client
import os
import sys

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
SECONDS = 4.0


def problem(host: str, port: int) -> str:
    """Why a server cannot be reached, empty when it can. `host`: the address it listens on."""
    address = EVERYWHERE.get(host, host)
    where = f"http://{f'[{address}]' if ':' in address else address}:{port}/"
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    try:
        connection.request("HEAD", "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{where} does not answer ({error or type(error).__name__})"
    finally:
        connection.close()
    return "" if status < 400 else f"{where} answers with status {status}"


def main() -> int:
    """Returns the exit code; says what is wrong on standard output, where `docker inspect` shows it."""
    port = os.environ.get("ARC2FACE_PORT") or "7860"
    if not port.isdecimal():
        print(f"ARC2FACE_PORT must be a number, not {port!r}")  # noqa: T201
        return 1
    found = problem(os.environ.get("ARC2FACE_HOST") or "127.0.0.1", int(port))
    print(found or "the page answers")  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
