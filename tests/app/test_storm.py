"""Sixty mixed requests from four clients: each equals its solo run bit for bit. The long version is bench/storm.py.

Run alone: ./run test tests/app/test_storm.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench import storm

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_nobody_gets_somebody_elses_pictures(studio: Any, photos: dict[str, Path]) -> None:
    wanted = storm.kinds([photos["one"]])
    alone = storm.solo(studio.url, wanted)
    assert len(set(alone)) == len(wanted)
    report = storm.storm(studio.url, wanted, alone, requests=60, clients=4, seed=3)
    assert report.outcomes.total() == 60
    assert report.problems == []
    assert report.outcomes["same"] > 30
    assert storm.solo(studio.url, wanted) == alone
    leftovers = [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).glob("tmp*") if path.is_file()]
    assert leftovers == []
