"""Group: several people in one photo, each with an expression of their own, pasted back into one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import Arc2FaceError, InputError
from arc2face.settings import DEFAULT_LOOK_STRENGTH, LOOK_STRENGTH_RANGE, PASTE_MASKS
from arc2face.sources import Wish, group_requests, paste_group
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors, words
from arc2face_app.page.parts.examples import group_strip
from arc2face_app.page.parts.faces import FaceRows
from arc2face_app.page.parts.keyed import Updates, Values
from arc2face_app.page.parts.look import before_and_after
from arc2face_app.page.parts.notices import missing_notice
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.parts.workbench import Asked, Extra, Work, Workbench
from arc2face_app.runs import runner
from arc2face_app.runs.pictures import PASTED, Picture
from arc2face_app.runs.shell import LIGHT, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.photo import Photo
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.runs.backend import Backend

TITLE = "Group"
LEAD = "Several people in the photo above: each stays who they are and gets an expression of their own."
NO_PHOTO = "Add a photo of several people above; a saved identity holds no picture."
HINT = (
    "Add a photo of several people above, then choose an expression for some of them. Gaze stays as the model draws it."
)
ALONE = "There is one person in this photo. Here is one of three people who do not exist:"
FIELDS = ("seed", "steps", "guidance_scale", "fast", "scheduler")


def build(engine: Backend, shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("A group, face by face", LEAD))
    missing_notice(shell, "expression", "reference")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            gr.HTML(markup.step(2, "Choose who changes"))
            note = gr.HTML(markup.hint(HINT))
            examples = group_strip(shell.person)
            rows = FaceRows(shell)
            masks: Any = [(words_, name) for name, words_ in PASTE_MASKS.items()]
            mask = gr.Radio(masks, value="face", label="Paste back")
            look = gr.Slider(
                *LOOK_STRENGTH_RANGE,
                value=DEFAULT_LOOK_STRENGTH,
                step=0.05,
                label="Keep how much of the photo",
                info="Close to 1 the photo is copied, its expressions included.",
                buttons=[],
            )
            controls = GenerationControls()
            controls.num_images.visible = False  # one per face
            controls.build_advanced()
            controls.keep_best.visible = False
            controls.not_like.hide()  # several people, each themselves
            drop = RecipeDrop(controls)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            buttons = RunButtons("Change the faces")
            tab = _Tab(shell, rows, mask, look)
            panel = ResultsPanel(
                invitation="Add a photo of several people above, choose expressions, and press Change the faces.",
                above=tab.build_comparison,
            )
    looked = {*shell.person.inputs}
    drawn = {note, examples, *rows.outputs}

    @shows_errors
    def look_at(values: Values, request: gr.Request) -> Updates:
        photo = _photo(shell, values, session_of(request))
        if photo is None or not shell.backend.ready:
            return {note: markup.hint(HINT), examples: gr.update(visible=True), **rows.hidden()}
        try:
            engine = shell.backend.engine()
            found, several = rows.shown(engine, photo), len(photo.faces(engine.faces)) > 1
        except Arc2FaceError as error:
            return {note: markup.notes([(words(error), True)]), examples: gr.update(visible=True), **rows.hidden()}
        alone = "" if several else markup.hint(ALONE)
        return {note: alone, examples: gr.update(visible=not several), **found}

    shell.here.select(look_at, looked, [*drawn], **LIGHT)
    shell.person.picks.change(look_at, looked, [*drawn], trigger_mode="always_last", **LIGHT)
    bench = Workbench(
        shell=shell,
        title=TITLE,
        controls=controls,
        panel=panel,
        buttons=buttons,
        drop=drop,
        more={*rows.inputs, mask, look},
        outputs={tab.slider},
        cleared=tab.hidden,
    )
    bench.connect(tab.plan, rows.rules)


def _photo(shell: PageShell, values: Values, session: str) -> Photo | None:
    photos = shell.person.all(values, session)
    return photos[0] if photos else None


class _Tab:
    """Turns what was asked for into work."""

    def __init__(self, shell: PageShell, rows: FaceRows, mask: gr.Radio, look: gr.Slider) -> None:
        self.shell, self.rows, self.mask, self.look = shell, rows, mask, look

    def build_comparison(self) -> None:
        """Before and after, over the results."""
        self.slider = before_and_after()

    def hidden(self) -> Updates:
        """No comparison yet."""
        return {self.slider: gr.update(visible=False)}

    def plan(self, asked: Asked) -> Work:
        """One request per face, then all of them in one picture."""
        photo = _photo(self.shell, asked.values, asked.session)
        if photo is None:
            raise InputError(NO_PHOTO)
        named = self.rows.wishes(asked.engine, photo, asked.values, asked.session)
        wishes = list(named.values())
        fields = {name: getattr(asked.base, name) for name in FIELDS}
        requests = group_requests(asked.engine, photo, wishes, fields, look=asked.values[self.look])
        return Work(requests=requests, names=list(named), extras=[self._pasted(asked, photo, wishes)])

    def _pasted(self, asked: Asked, photo: Photo, wishes: Sequence[Wish]) -> Extra:
        def extra(results: runner.Results, pictures: Sequence[Picture]) -> tuple[Updates, list[Picture]]:
            from arc2face.pictures.recipes import save_png

            drawn = [result.images[0] for result in results]
            whole = paste_group(
                asked.engine,
                photo,
                [wish.face for wish in wishes],
                [image.rgb_u8 for image in drawn],
                asked.values[self.mask],
            )
            target = Path(pictures[0].path).with_name("group.png")
            save_png(replace(drawn[0], rgb_u8=whole), results[0], target)
            size, before = (whole.shape[1], whole.shape[0]), str(photo.path)
            seam = _seam(asked.engine, photo, wishes)
            scores = [picture.similarity for picture in pictures]
            least = None if None in scores else min(score for score in scores if score is not None)
            made = Picture(str(target), pictures[0].seed, least, None, "All together", PASTED, size, before, seam=seam)
            shown = gr.update(value=(before, str(target)), slider_position=100 * seam, visible=True)
            return {self.slider: shown}, [made]

        return extra


def _seam(engine: Engine, photo: Photo, wishes: Sequence[Wish]) -> float:
    """Where photo and picture meet at first, as a share of the width: in the middle of the first face that changes."""
    faces, width = photo.faces(engine.faces), photo.rgb_u8.shape[1]
    return min(max(min(faces[wish.face].centre[0] for wish in wishes) / width, 0.02), 0.98)
