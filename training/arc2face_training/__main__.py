"""`python -m arc2face_training COMPONENT --config people`: the same as `arc2face train`, without the command-line
package.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from arc2face.errors import Arc2FaceError
from arc2face_training.train import COMPONENTS, RECIPES, RunOptions, run


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; exit status 2 for errors a person can fix."""
    parser = argparse.ArgumentParser(prog="python -m arc2face_training", description=__doc__)
    parser.add_argument("component", choices=sorted(COMPONENTS))
    parser.add_argument("--config", default="people", help=f"{', '.join(RECIPES)}, or a YAML file")
    parser.add_argument("--out", type=Path, default=None, help="folder of checkpoint and curves")
    parser.add_argument("--device", default="auto", help="auto or cpu")
    parser.add_argument("--seconds", type=float, default=None, help="length of this piece; run again to go on")
    parser.add_argument("--steps", type=int, default=None, help="length of the whole run; may be raised later")
    parser.add_argument("--processes", type=int, default=1, help="processes on this machine")
    parser.add_argument("--tracker", default=None, help="tensorboard, wandb or none")
    parser.add_argument("--no-resume", action="store_true", help="start over")
    parser.add_argument("--export", action="store_true", help="only write the models from the checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example loop.batch_size=8")
    o = parser.parse_intermixed_args(arguments)
    options = RunOptions(tuple(o.overrides), o.seconds, o.steps, not o.no_resume, o.export, o.processes, o.tracker)
    try:
        return run(o.component, o.config, o.out, o.device, options=options)
    except Arc2FaceError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
