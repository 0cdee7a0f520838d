"""Ready-made inputs: a strip of example faces that run on a click, and somebody new at each press."""

from __future__ import annotations

import random
from pathlib import Path

import gradio as gr

from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors
from arc2face_app.page.parts.keyed import Updates, Values
from arc2face_app.page.parts.person import SOMEBODY_NEW, PersonPicker
from arc2face_app.page.parts.photos import PhotoPicker
from arc2face_app.page.theme import EXAMPLES
from arc2face_app.runs.shell import INSTANT, LIGHT, QUIET, Shell, session_of

TAPPED = "tapped"
"""Class of each tab's button, seen by nobody, that starts its run once an example has been tapped."""
NONE = -1
"""Index of no example; None would be left out of the update on its way to the browser."""
RUN_OPEN_TAB = f"""() => {{
  const panel = [...document.querySelectorAll("[role=tabpanel]")].find((one) => one.offsetParent !== null);
  panel?.querySelector(".{TAPPED}")?.click();
}}"""


def picture_strip(folder: str, picker: PhotoPicker) -> None:
    """Example pictures that fill a photo picker on a click; nothing where the folder is empty."""
    paths = _pictures(folder)
    if not paths:
        return

    def choose(event: gr.SelectData) -> Updates:
        return {picker.photos: [paths[event.index if isinstance(event.index, int) else 0]]}

    strip = _strip(paths, "Example")
    picker.inspect_after(strip.select(choose, None, [picker.photos], **INSTANT))
    _released(strip, picker)


def group_strip(person: PersonPicker) -> gr.Gallery:
    """Example photos of several people; a tap makes one the photo of the page, and starts nothing."""
    paths = _pictures("groups")
    strip = _strip(paths, "Example photo of several people", wide=True)

    def choose(event: gr.SelectData) -> Updates:
        return person.filled_with(paths[event.index if isinstance(event.index, int) else 0])

    person.inspect_after(strip.select(choose, None, [*person.fillable], **INSTANT))
    _released(strip, person)
    return strip


def _released(strip: gr.Gallery, picker: PhotoPicker) -> None:
    """No example stands out once the photo is another one."""

    def look(values: Values) -> Updates:
        chosen = {Path(path).name for path in picker.paths(values)}
        ours = {Path(path).name for path in (item[0] for item in values[strip] or ())}
        return {strip: gr.skip() if chosen & ours else gr.update(selected_index=NONE)}

    # A picture that is carried over changes the gallery without a word; the chip tells of it.
    for changed in (picker.photos.change, *([picker.who.change] if isinstance(picker, PersonPicker) else [])):
        changed(look, {picker.photos, strip}, [strip], **INSTANT)


def _pictures(folder: str) -> list[str]:
    return sorted(str(path) for path in (EXAMPLES / folder).glob("*.webp"))


def _strip(paths: list[str], name: str, *, wide: bool = False) -> gr.Gallery:
    """The captions are what the pictures are called; they are not shown. `wide`: for pictures that are not square."""
    return gr.Gallery(
        [(path, f"{name}: {_said(path) or number + 1}") for number, path in enumerate(paths)],
        label="Examples",
        show_label=False,
        columns=6,
        rows=1,
        height=64,
        fit_columns=False,
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(paths),
        elem_classes=["strip", "wide"] if wide else ["strip"],
    )


def _said(path: str) -> str:
    """What a file name says of its picture: `1-left.webp` shows left."""
    return Path(path).stem.partition("-")[2]


class ExampleStrip:
    """Thumbnails to click on, and the "Surprise me" button."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.paths = _pictures("faces")
        with gr.Row(elem_classes=["who-tools"]):
            gr.HTML(markup.hint("No photo at hand? Tap somebody who does not exist."))
            self.surprise = gr.Button("Surprise me", size="sm", scale=0, min_width=120)
        self.strip = _strip(self.paths, "Example person")

    def connect(self, person: PersonPicker) -> None:
        """A tap fills the picker and starts the run of the tab that is open, in place of one that is under way."""

        def chosen(event: gr.SelectData) -> Updates:
            return person.filled_with(self.paths[event.index if isinstance(event.index, int) else 0])

        @shows_errors
        def somebody(request: gr.Request) -> Updates:
            from arc2face.faces.made_up import made_up_person
            from arc2face.pictures.saving import save_picture

            target = self._shell.files.new_run(session_of(request)) / SOMEBODY_NEW
            save_picture(made_up_person(random.randrange(2**31)), target)
            return person.filled_with(str(target))

        taps = (
            self.strip.select(chosen, None, [*person.fillable], **INSTANT),
            self.surprise.click(somebody, None, [*person.fillable], **LIGHT),
        )
        _released(self.strip, person)
        for tap in taps:
            person.inspect_after(tap)
            tap.success(None, None, None, js=RUN_OPEN_TAB, **QUIET)
