"""What a page is judged by: axe-core's rules, the size of targets, a name for every control. Nothing is downloaded."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Page

LEAST = 24
"""Pixels a target is wide and high at least (WCAG 2.5.8)."""

_TARGETS = """(least) => {
  const seen = (e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true})
    && !e.closest("[inert], [aria-hidden=true]");
  const found = [];
  const kinds = "button, a[href], input, select, textarea, summary, [role=tab], [role=button], [role=radio]";
  for (const element of document.querySelectorAll(kinds)) {
    if (element.type === "file" || element.type === "hidden" || element.disabled || !seen(element)) continue;
    // What belongs to a label is hit by hitting the label; a slider is dragged along its whole row.
    const label = element.matches("input[type=checkbox], input[type=radio]") ? element.closest("label") : null;
    const box = (label ?? element).getBoundingClientRect();
    if (box.width < 1 || box.height < 1) continue;
    const inText = element.matches("a") && element.closest("p, .hint, footer, .foot");
    if (!inText && (box.width < least - 0.5 || box.height < least - 0.5)) {
      found.push(`${Math.round(box.width)}x${Math.round(box.height)} ${element.outerHTML.slice(0, 160)}`);
    }
  }
  return found;
}"""
_NAMELESS = """() => {
  const seen = (e) => e.checkVisibility({visibilityProperty: true}) && !e.closest("[inert], [aria-hidden=true]");
  const named = (e) => {
    const by = (e.getAttribute("aria-labelledby") ?? "").split(/\\s+/)
      .map((id) => document.getElementById(id)?.textContent ?? "");
    const labels = e.labels ? [...e.labels].map((one) => one.textContent) : [];
    const pictures = [...e.querySelectorAll("img")].map((one) => one.alt);
    return [e.getAttribute("aria-label"), e.getAttribute("title"), ...by, ...labels, e.innerText, ...pictures]
      .map((text) => (text ?? "").trim()).find(Boolean) ?? "";
  };
  const kinds = "button, a[href], input:not([type=file]):not([type=hidden]), select, textarea, [role=tab]";
  const controls = [...document.querySelectorAll(kinds)];
  return controls.filter(seen).map((e) => [named(e), e.outerHTML.slice(0, 160)]);
}"""


@cache
def _axe() -> str:
    pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """What axe-core finds on the page as it stands: rule, help and the first elements of each finding."""
    page.evaluate("source => { if (!window.axe) (0, eval)(source); }", _axe())
    page.evaluate("() => document.fonts.ready")
    answer: Any = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:4]]}"
        for each in answer["violations"]
        if each["impact"] in impacts
    ]


def small_targets(page: Page) -> list[str]:
    """Controls that are too small to be hit with a finger."""
    return page.evaluate(_TARGETS, LEAST)


def names(page: Page) -> list[tuple[str, str]]:
    """Every visible control: its name, empty where it has none, and its markup."""
    return [(name, markup) for name, markup in page.evaluate(_NAMELESS)]


def judge(page: Page, where: str) -> list[str]:
    """Everything that is wrong with the page as it stands."""
    found = [f"axe {line}" for line in violations(page)]
    found += [f"small {line}" for line in small_targets(page)]
    found += [f"nameless {markup}" for name, markup in names(page) if not name]
    found += [f"named by its place {name}" for name, _ in names(page) if name.startswith("Thumbnail ")]
    return [f"{where}: {line}" for line in found]
