"""Issue 10, point 5: whatever is given to a door is taken or refused in words. The long run: python -m tests.fuzz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.doors import CORPUS, DOORS, HEAVY, door_of
from tests.fuzz.runner import Fuzzer
from tests.fuzz.traps import EXPECTED, TRAPS

SEED = 20261125


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    with Fuzzer() as started:
        yield started


@pytest.mark.parametrize("name", DOORS)
def test_spoiled_inputs_are_taken_or_refused(fuzzer: Fuzzer, name: str) -> None:
    """K1 to K7."""
    count = 20 if name in HEAVY else 30
    tally = fuzzer.run(DOORS[name], count, SEED)
    assert not tally.failed, tally.as_dict()
    assert tally.refused >= 3
    assert tally.accepted + tally.refused == count + len(fuzzer.valid(DOORS[name]))


@pytest.mark.parametrize("name", [name for name in DOORS if name not in ("api", "emoca", "smirk", "flame")])
def test_valid_files_are_taken(fuzzer: Fuzzer, name: str) -> None:
    """Changes to files that no door takes would test nothing."""
    kinds = {path.name: fuzzer.give(DOORS[name], path) for path in fuzzer.valid(DOORS[name])}
    assert [file for file, found in kinds.items() if found["kind"] != "accepted"] == []


@pytest.mark.parametrize("case", sorted(CORPUS.iterdir()), ids=lambda case: case.name)
def test_inputs_that_once_failed(fuzzer: Fuzzer, case: Path) -> None:
    found = fuzzer.recorded(case)
    assert found["kind"] in ("accepted", "refused"), found
    assert found["kind"] == "refused" or not case.name.startswith(("bin--", "emoca-ckpt", "identity"))


@pytest.mark.parametrize("name", TRAPS)
def test_the_fuzzer_sees_what_it_looks_for(fuzzer: Fuzzer, name: str) -> None:
    found = fuzzer.give(TRAPS[name], fuzzer.valid(TRAPS[name])[0])
    assert found["kind"] == ("refused" if name == "refuses" else "failed")
    assert EXPECTED[name] in found["why"]


def test_the_same_seed_makes_the_same_inputs(fuzzer: Fuzzer) -> None:
    one, two, other = ([path.read_bytes() for path in fuzzer.inputs(DOORS["identity"], 20, seed)] for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_every_recorded_input_has_a_door() -> None:
    assert {door_of(case).name for case in CORPUS.iterdir()} >= {"picture", "identity", "recipe", "checkpoint", "flame"}
