"""The benches run, at toy size, on any machine: every arm, every section, tables. Issue 12, point 8.

What they measure at this size says nothing; that the arms make the same latents does.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import cpu, gpu
from bench.speed.clock import Sections, interleaved
from bench.speed.tables import cpu_table, gpu_table

pytest.importorskip("peft", reason="the upstream-style arm loads its LoRAs through it")


def test_cpu_bench_compares_the_arms(tmp_path: Path) -> None:
    """12.8: upstream-style, ours and ours with the small decoder, in the modes that differ most."""
    words = ["--toy", "--no-starter", "--repeat", "0", "--modes", "LCM-2", "expression + reference"]
    out, table = tmp_path / "cpu.json", tmp_path / "cpu.md"
    report = cpu.main([*words, "--models", str(tmp_path / "toy"), "--out", str(out), "--markdown", str(table)])
    assert {mode: set(arms) for mode, arms in report["runs"].items()} == {
        "LCM-2": {"S0", "O", "T"},
        "expression + reference": {"S0", "O"},
    }
    for arms in report["runs"].values():
        assert arms["O"]["difference"] < 1e-4 and arms["O"]["first"]["request"] > 0 < arms["S0"]["peak_gb"]
    assert json.loads(out.read_text("utf-8"))["runs"].keys() == report["runs"].keys()
    assert table.read_text("utf-8").count("\n| LCM-2 |") == 3 and cpu_table(report) == table.read_text("utf-8")


def test_gpu_bench_runs_on_the_recording_stand_in(tmp_path: Path) -> None:
    """12.8: exactness, requests of all arms, switches, approximations and clients; captures are counted."""
    out, table = tmp_path / "gpu.json", tmp_path / "gpu.md"
    words = ["--toy", "--steps", "2", "--repeat", "1", "--no-compile", "--modes", "identity", "LCM-2"]
    report = gpu.main([*words, "--out", str(out), "--markdown", str(table)])
    failed = {name: state for name, state in report["sections"].items() if isinstance(state, str)}
    assert not failed
    assert report["machine"]["note"] == gpu.NOT_RUN
    assert report["exactness"]["identity"]["gate"] and report["exactness"]["LCM-2"]["gate"]
    assert {"S0", "S1", "O", "S0 again"} <= report["requests_ms"]["identity"].keys()
    assert report["requests_ms"]["LCM-2"]["recaptures"]["count"] == 0
    assert report["switch_ms"]["recaptures"] == 0 and len(report["switch_ms"]["extra"]) == 2
    assert report["clients"]["2"]["done"] == 2 and report["clients"]["2"]["differs"] == 0
    assert report["fast_path"].startswith("on (")
    assert gpu.NOT_RUN in table.read_text("utf-8") and "| LCM-2 |" in gpu_table(report)


def test_sections_give_way_and_failures_are_noted(tmp_path: Path) -> None:
    """12.8: a section that has too little time is skipped, one that fails does not cost the others."""
    report: dict[str, object] = {}
    sections = Sections(report, seconds=100.0, out=tmp_path / "out.json")
    sections.run("long", 1000.0, lambda: report.update(long=True))
    sections.run("broken", 1.0, lambda: 1 // 0)
    sections.run("good", 1.0, lambda: report.update(good=True))
    states = json.loads((tmp_path / "out.json").read_text("utf-8"))["sections"]
    assert states["long"].startswith("skipped") and states["broken"].startswith("failed: ZeroDivisionError")
    assert isinstance(states["good"], float) and report["good"] and "long" not in report


def test_calls_are_interleaved() -> None:
    """12.8: A B A B, so that heat and other load hit every arm."""
    order: list[str] = []
    rows = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, "cpu", 3, budget=60.0)
    assert order == ["a", "b"] * 3 and rows["a"]["runs"] == 3
