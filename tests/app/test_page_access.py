"""Everybody can use the page: axe-core, targets and names in every tab and state, in both schemes, large and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.access import judge, names
from tests.app.walk import PHONE, add_photo, browser, few_steps, finished, run, set_number, shown, visit

__all__ = ["browser", "visit"]  # fixtures
pytestmark = [pytest.mark.server, pytest.mark.browser]


def tabs(page: Page) -> dict[str, str]:
    """Names by id of all tabs, those that a small screen folds away too."""
    return page.evaluate(
        """() => Object.fromEntries(window.gradio_config.components
          .filter((one) => one.type === "tabitem").map((one) => [one.props.id, one.props.label]))"""
    )


def open_tab(page: Page, tab: str, name: str) -> None:
    """Open a tab, from the menu of those that do not fit where it is there."""
    button = page.locator(f"[role=tab][data-tab-id={tab}]").locator("visible=true")
    if not button.count():
        page.locator(".overflow-menu > button").click()
        button = page.locator(".overflow-dropdown button", has_text=name)
    button.first.click()
    page.wait_for_function(
        "tab => [...document.querySelectorAll('[aria-selected=true]')].some((one) => one.dataset.tabId === tab)",
        arg=tab,
    )
    page.wait_for_timeout(800)


def unfold(page: Page) -> None:
    """Open whatever is folded in the tab, and wait until it is drawn."""
    page.evaluate(
        """() => [...document.querySelectorAll("button.label-wrap:not(.open)")]
          .filter((one) => one.checkVisibility()).forEach((one) => one.click())"""
    )
    page.wait_for_timeout(600)


def tour(page: Page, where: str) -> list[str]:
    """What is wrong in any tab."""
    found: list[str] = []
    for tab, name in tabs(page).items():
        open_tab(page, tab, name)
        unfold(page)
        found += judge(page, f"{where}, {tab}")
    return found


def test_every_tab_large_and_light(visit: Any) -> None:
    """U13, U15: no serious finding, targets of 24 pixels, a name for every control."""
    page = visit()
    found = tour(page, "large, light")
    assert not found, "\n".join(found)


def test_every_tab_small_and_dark(visit: Any) -> None:
    """U13: the same at 390 x 844."""
    page = visit(viewport=PHONE, color_scheme="dark")
    found = tour(page, "small, dark")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_running_results_and_errors(visit: Any, photos: dict[str, Path], scheme: str) -> None:
    """Filled, running, with results, with one picture large, stopped and failed."""
    page = visit(color_scheme=scheme)
    add_photo(page, photos["two"])
    expect(page.get_by_text("Several people here")).to_be_visible()
    found = judge(page, "filled")
    few_steps(page)
    run(page)
    expect(shown(page.locator(".progress"))).to_be_visible()
    found += judge(page, "running")
    finished(page)
    found += judge(page, "results")
    shown(page.locator(".picture-grid .open")).click()
    expect(page.get_by_test_id("large-picture")).to_be_visible()
    found += judge(page, "one picture")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="History").click()
    expect(page.locator(".history .picture").first).to_be_visible()
    found += judge(page, "history")
    page.get_by_role("tab", name="Identity").click()
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".note.warn"))).to_contain_text("No face was found")
    run(page)
    expect(page.locator(".refusal")).to_contain_text("Photo 2 cannot be used")
    found += judge(page, "refused: one photo of several")
    page.locator(".who .photos").get_by_label("Clear", exact=True).first.click()
    add_photo(page, photos["nobody"])
    expect(shown(page.locator(".note.warn"))).to_contain_text("No face was found")
    run(page)
    expect(page.locator(".failure").locator("visible=true")).to_be_visible()
    found += judge(page, "failed")
    assert not found, "\n".join(found)


def test_drop_zones_and_examples_have_names_of_their_own(visit: Any) -> None:
    """U15: examples were "Thumbnail 1 of 6", and three drop zones shared a name."""
    page = visit()
    page.get_by_role("tab", name="Expression").click()
    expect(shown(page.get_by_role("button", name="Make pictures"))).to_be_visible()
    unfold(page)
    expect(page.get_by_role("button", name="Click to upload or drop files")).to_have_count(0)
    called = [name for name, markup in names(page) if "upload" in markup or "drop" in name.lower()]
    assert len(called) == len(set(called)) >= 3
    examples = [name for name, _ in names(page) if name.startswith("Example")]
    assert len(examples) == len(set(examples)) >= 6


def test_the_focus_is_never_hidden(visit: Any) -> None:
    """U3: nothing that the Tab key reaches lies behind what sticks to an edge."""
    page = visit(viewport={"width": 1280, "height": 720})
    shown(page.get_by_role("button", name="Advanced settings")).click()
    set_number(page, "Pictures", "2")
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    seen: list[str] = []
    for _ in range(45):
        page.keyboard.press("Tab")
        state = page.evaluate(
            """() => {
              const element = document.activeElement, box = element.getBoundingClientRect();
              if (element === document.body) return ["", "end"];
              const own = (one) => one.contains(element) || element.contains(one);
              const labels = [...element.labels ?? []];
              const free = [[.5, .5], [.05, .2], [.95, .8]].some(([x, y]) => {
                const top = document.elementFromPoint(box.left + x * box.width, box.top + y * box.height);
                return top && (own(top) || labels.some((one) => one.contains(top)));
              });
              return [free ? "" : element.outerHTML.slice(0, 160), element.tagName];
            }"""
        )
        seen.append(state[1])
        assert not state[0]
    assert {"BUTTON", "INPUT"} <= set(seen)
