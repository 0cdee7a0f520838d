"""`python -m arc2face_app`: the same as `arc2face app`."""

from __future__ import annotations

import sys

from arc2face_app.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
