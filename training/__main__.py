"""`python -m training COMPONENT --config starter`: the same as `arc2face train`, without the command-line package."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import yaml

from arc2face.errors import Arc2FaceError
from training.train import COMPONENTS, train


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; exit status 2 for errors a person can fix."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("component", choices=sorted(COMPONENTS))
    parser.add_argument("--config", default="starter", help="starter, starter-cpu, full, or a YAML file")
    parser.add_argument("--out", type=Path, default=None, help="folder of checkpoint and curves")
    parser.add_argument("--seconds", type=float, default=None, help="length of this piece; run again to go on")
    parser.add_argument("--no-resume", action="store_true", help="start over")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example loop.steps=100")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        overrides = {key: yaml.safe_load(value) for key, value in (item.split("=", 1) for item in options.overrides)}
        train(
            options.component, options.config, options.out,
            resume=not options.no_resume, seconds=options.seconds, overrides=overrides,
        )  # fmt: skip
    except (Arc2FaceError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
