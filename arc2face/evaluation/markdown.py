"""The report as a page to read: tables of figures with their intervals, what is absent and why, plots, the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from arc2face.evaluation.figure import Figures

PUBLISHED = Path(__file__).with_name("published.json")
HEAD = ("Figure", "Value [95 %]", "")
_HIDDEN = ("histogram", "curve", "grid", "deviations", "examples", "reasons", "notes")
_TITLES = {
    "set": "The set",
    "faces": "Faces",
    "names": "Names",
    "verification": "Telling people apart",
    "published_pairs": "The published pairs",
    "likeness": "Likeness of the drawn pictures",
    "leakage": "Resemblance to other people",
    "diversity": "Diversity of one person's pictures",
    "distribution": "Distance to the photographs",
    "pose": "Pose",
    "expression": "Expression",
    "duplicates": "Copies",
    "groups": "Groups of people",
}


def report_text(figures: Figures, plots: Sequence[tuple[str, str]]) -> str:
    """The whole page."""
    about = figures["about"]
    lines = [f"# Evaluation of {cell(about['set'])}", ""]
    if about["kind_of_models"] != "full":
        lines += [f"Measured with the {about['kind_of_models']} models: compare with runs of the same models only.", ""]
    lines += [f"- {cell(note)}" for note in figures["set"].get("notes", ())]
    for name, title in _TITLES.items():
        if figures.get(name):
            lines += ["", f"## {title}", "", *table(rows_of(figures[name]))]
            lines += _examples(name, figures[name].get("examples", ()))
    reasons = cast("dict[str, int]", figures["faces"].get("reasons", {}))
    if reasons:
        lines += ["", "### Pictures without a figure", ""]
        lines += table([(cell(text), str(count), "") for text, count in reasons.items()], ("Reason", "Pictures", ""))
    lines += [text for name, caption in plots for text in ("", f"![{caption}]({name})", "", caption)]
    lines += ["", "## Figures of others", "", *published()]
    facts = {"about": about, "protocol": figures["protocol"]}
    lines += ["", "## Protocol", "", "```json", json.dumps(facts, indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _examples(section: str, keys: Sequence[Any]) -> list[str]:
    """The first of the pictures that a section counts."""
    said = {"faces": "Without a face or unreadable", "names": "May show somebody else"}
    if section not in said or not keys:
        return []
    return ["", f"{said[section]}, the first of them: {', '.join(cell(key) for key in keys)}."]


def rows_of(section: Figures, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """Name, value and remark of every figure below a section."""
    for name, value in section.items():
        if name.endswith(_HIDDEN):
            continue
        here = (*path, name.replace("_", " "))
        if isinstance(value, dict):
            entry = cast("Figures", value)
            if "value" in entry:
                yield " / ".join(here), *described(entry)
            else:
                yield from rows_of(entry, here)
        elif isinstance(value, (int, float, str)):
            yield " / ".join(here), number(value), ""


def described(figure: Figures) -> tuple[str, str]:
    """A figure's value with its interval, and its counts in words."""
    if figure["value"] is None:
        return "absent", cell(figure["absent"])
    value = number(figure["value"])
    if "low" in figure:
        value += f" [{number(figure['low'])}, {number(figure['high'])}]"
    more = [
        f"{key.replace('_', ' ')} {number(item)}"
        for key, item in figure.items()
        if key not in ("value", "low", "high") and not isinstance(item, (list, dict)) and not key.endswith(_HIDDEN)
    ]
    return value, ", ".join(more)


def summary(figures: Figures) -> list[str]:
    """The figures that people ask for first, a line each."""
    wanted = (
        ("faces", "no_face_real"),
        ("faces", "no_face_drawn"),
        *(("verification", role, "recogniser", name) for role in ("real", "drawn") for name in ("eer", "auc")),
        *(("likeness", name, key) for name in ("recogniser", "judge") for key in ("to_input", "to_others")),
        ("published_pairs", "recogniser", "accuracy"),
        *(("diversity", role, "lpips") for role in ("real", "drawn")),
        ("distribution", "fid"),
    )
    lines: list[str] = []
    for path in wanted:
        entry: Any = figures
        for name in path:
            entry = entry.get(name, {}) if isinstance(entry, dict) else {}
        if isinstance(entry, dict) and "value" in entry:
            value, more = described(cast("Figures", entry))
            lines.append(f"{' / '.join(path).replace('_', ' ')}: {value} ({more})")
    return lines


def table(rows: Iterable[tuple[str, str, str]], head: tuple[str, str, str] = HEAD) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(head)} |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]


def published() -> list[str]:
    """The table of other people's figures, each with its protocol and its source."""
    content: Mapping[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    lines = [str(content["note"]), "", "| Method | Set | Identity | LPIPS | FID | Protocol | Source |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in content["rows"]:
        cells = [row["method"], row["set"], *(f"{row[key]:g}" for key in ("identity", "lpips", "fid"))]
        lines.append(f"| {' | '.join(cells)} | {row['protocol']} | [link]({row['source']}) |")
    return lines


def number(value: object) -> str:
    """A number with about four digits, or a word."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return cell(str(value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def cell(text: object) -> str:
    """Text that stays in its cell: names and messages come from strangers' folders."""
    words = " ".join(str(text).split()).replace("\\", "\\\\")
    for mark in "|<>[]`*_":
        words = words.replace(mark, "\\" + mark)
    return words[:300]
