"""The long run: python -m tests.fuzz --inputs 10000 --seed 1 [--door NAME ...] [--keep DIR]

Prints one line of JSON per door, then the sum. Exit status 1 when an input failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.fuzz.doors import DOORS
from tests.fuzz.runner import long_run


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Give the doors damaged files.")
    parser.add_argument("--inputs", type=int, default=10_000, help="how many, over all doors")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    parser.add_argument("--door", action="append", default=[], choices=list(DOORS), help="only this one; repeatable")
    parser.add_argument("--keep", type=Path, help="where to put inputs that failed")
    args = parser.parse_args()
    start, inputs, failed = time.monotonic(), 0, 0
    for name, tally in long_run(args.inputs, args.seed, args.door, args.keep):
        counts = tally.as_dict()
        inputs, failed = inputs + counts["inputs"], failed + tally.failed.total()
        print(json.dumps({"door": name, **counts}), flush=True)
    print(json.dumps({"inputs": inputs, "failed": failed, "seconds": round(time.monotonic() - start)}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
