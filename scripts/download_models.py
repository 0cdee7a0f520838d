#!/usr/bin/env python3
"""Fetch the model files. Needs Python 3.10 or newer, and huggingface_hub for files of the Hugging Face Hub.

python scripts/download_models.py identity            the Identity tab
python scripts/download_models.py all --dry-run       what everything would be, and how large
python scripts/download_models.py pose --accept-licence flame --accept-licence emoca
python scripts/download_models.py all --mirror /media/usb/arc2face-models
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from arc2face.errors import Arc2FaceError
from arc2face.weights.download.command import DownloadRequest, run
from arc2face.weights.table import FEATURES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="download_models.py",
        description="Fetch the model files: resumed after an interruption, verified, put in place in one step. "
        "Needs Python, and the package huggingface_hub for files of the Hugging Face Hub.",
        epilog="Environment: HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, HTTPS_PROXY, ARC2FACE_MODELS.",
    )
    parser.add_argument("features", nargs="*", default=["identity"], help=f"{', '.join(FEATURES)} (default: identity)")
    default = os.environ.get("ARC2FACE_MODELS", "models")
    parser.add_argument("--models", type=Path, default=Path(default), help="models folder (default: %(default)s)")
    parser.add_argument(
        "--mirror", help="folder or http(s) address with the same relative paths; nothing else is asked"
    )
    parser.add_argument("--precision", choices=("auto", "fp16", "full"), default="auto", help="fp16 halves some files")
    parser.add_argument("--accept-licence", action="append", default=[], metavar="NAME", help="flame, emoca")
    parser.add_argument(
        "--yes", "-y", action="store_true", help="do not ask whether to begin (licences are not implied)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be fetched")
    parser.add_argument("--list", action="store_true", help="show the table of all files")
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    parser.add_argument("--unpinned", action="store_true", help="newest version instead of the pinned one")
    parser.add_argument("--trust-changed", action="store_true", help="accept a file that changed since it was fetched")
    parser.add_argument("--quick", action="store_true", help="do not hash files that are there already")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 files left out for their licence."""
    given = _parser().parse_args(argv)
    request = DownloadRequest(
        features=tuple(given.features),
        models=given.models,
        mirror=given.mirror,
        precision=given.precision,
        accept=tuple(given.accept_licence),
        yes=given.yes,
        dry_run=given.dry_run,
        listing=given.list,
        as_json=given.json,
        unpinned=given.unpinned,
        trust_changed=given.trust_changed,
        quick=given.quick,
    )
    ask = input if sys.stdin.isatty() and sys.stdout.isatty() else None
    try:
        return run(request, sys.stdout, ask)
    except Arc2FaceError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What came so far is kept; run the same command again to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
