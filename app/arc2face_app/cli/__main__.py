"""`python -m arc2face_app.cli`: the same as `arc2face`, where the package is not installed."""

from __future__ import annotations

import sys

from arc2face_app.cli import main

if __name__ == "__main__":
    sys.exit(main())
