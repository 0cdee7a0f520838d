"""The form of a data set: who, which pictures, and what it will look like, how large it is and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face import checks
from arc2face.errors import Arc2FaceError
from arc2face.expression.presets import BUILT_IN, load_presets
from arc2face.settings import MAX_SEED
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors, words
from arc2face_app.page.parts.expression import place_of_name
from arc2face_app.page.parts.expression_edit import clay, expression_of
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.runs import datasets
from arc2face_app.runs.datasets import ABOVE, NEW, SEVERAL, Wanted
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import INSTANT, LIGHT

if TYPE_CHECKING:
    from arc2face.dataset.schedule import Wish
    from arc2face.engine import Engine
    from arc2face_app.page.parts.follow import PageShell

WHO = {"The person above": ABOVE, "Several people": SEVERAL, "New people": NEW}
SCHEDULES = {"Balanced": "balanced", "One after the other": "grid", "At random": "random"}
SHOWN, CELL = 12, 88
"""Pictures of the preview, and their side in pixels."""
NOBODY_REAL = "They do not exist: each is drawn between people who are given, and unlike all of them."
HEADS = "What the first person will show:"
INVITATION = "Choose people and pictures, and press Draw the set."
FILES = "Photos or saved identities, one file for each person."


class SetForm:
    """Fields of a set. `preview`: what the first person's pictures will show, with counts and estimates."""

    def __init__(self, shell: PageShell) -> None:
        self._shell = shell
        self.seconds: float | None = None
        """Per picture, as this server drew the last set."""
        gr.HTML(markup.step(2, "Choose the people"))
        self.who = gr.Radio(list(WHO.items()), value=ABOVE, label="Whose pictures?", show_label=False)
        with gr.Column(visible=False) as self._several:
            gr.HTML(markup.hint(FILES))
            self.files = gr.File(
                label="Photos and saved identities",
                show_label=False,
                file_count="multiple",
                file_types=["image", ".npz", ".npy"],
                height=120,
                elem_classes=["drop"],
            )
            taken_as_it_lies(self.files)
        with gr.Column(visible=False) as self._new:
            gr.HTML(markup.hint(NOBODY_REAL))
            self.count = gr.Slider(1, datasets.MAX_PEOPLE, value=8, step=1, label="People", buttons=[])
        gr.HTML(markup.step(3, "Choose the pictures"))
        self.pictures = gr.Slider(1, datasets.MAX_EACH, value=6, step=1, label="Pictures of each person", buttons=[])
        self.poses = gr.CheckboxGroup(
            list(datasets.POSES), value=["Front", "Left", "Right"], label="Turns of the head", elem_classes=["chips"]
        )
        with gr.Column(elem_classes=["named"]):
            self.expressions = gr.CheckboxGroup(
                sorted(BUILT_IN, key=place_of_name), value=[], label="Expressions", elem_classes=["chips"]
            )
            gr.HTML(markup.MORE_NAMES)
        self.kind = gr.Radio(list(SCHEDULES.items()), value="balanced", label="How turns and expressions are combined")
        self.fast = gr.Checkbox(True, label="Fast mode", info="A few steps instead of 25.")
        with gr.Accordion("Advanced settings", open=False):
            self.seed = gr.Number(0, label="Seed")
            self.least = gr.Slider(
                0,
                0.95,
                value=0,
                step=0.05,
                label="Draw again below this similarity",
                info="Up to four tries. 0: never.",
                buttons=[],
            )

    def build_preview(self) -> None:
        """What the pictures will show, placed by the tab where they will be."""
        self.preview = gr.HTML(markup.idle("Your pictures appear here", INVITATION))

    @property
    def inputs(self) -> set[Component]:
        """Everything that `wanted` reads."""
        choice = {self.who, self.files, self.count, self.pictures, self.poses, self.expressions, self.kind}
        return {*choice, self.fast, self.seed, self.least, *self._shell.person.inputs}

    @property
    def rules(self) -> Rules:
        """Rules for a validator: somebody, not too many, and a seed that is one."""

        def person(values: Values) -> None:
            if values[self.who] == ABOVE:
                for rule in self._shell.person.person_rules.values():
                    rule(values)

        def people(values: Values) -> None:
            self.wanted(values).check()

        def seed(values: Values) -> None:
            checks.whole("The seed", values[self.seed], (0, MAX_SEED))

        return {self._shell.person.photos: person, self.who: people, self.seed: seed}

    def wanted(self, values: Values, session: str = "", engine: Engine | None = None) -> Wanted:
        """What the values ask for. `engine`: to read the person above; None where nobody is drawn yet."""
        least = values[self.least]
        return Wanted(
            who=values[self.who],
            files=tuple(Path(path) for path in values[self.files] or ()),
            count=int(values[self.count]),
            pictures=int(values[self.pictures]),
            poses=tuple(values[self.poses]),
            expressions=tuple(values[self.expressions]),
            kind=values[self.kind],
            fast=bool(values[self.fast]),
            seed=checks.whole("The seed", values[self.seed] or 0, (0, MAX_SEED)),
            min_score=least or None,
            person=None if engine is None else lambda: self._shell.person.person(engine, values, session),
        )

    def connect(self, opened: Any) -> None:
        """The preview follows the form. `opened`: the event of the tab."""
        self.who.input(self._visible, {self.who}, [self._several, self._new], **INSTANT)
        opened(self._offer, {self.expressions}, [self.expressions], **LIGHT)
        self._shell.drawers.append(lambda trigger: trigger(self._draw, self.inputs, [self.preview], **LIGHT))
        shown = (self.who, self.files, self.count, self.pictures, self.poses, self.expressions, self.kind)
        for event in (opened, *(component.change for component in shown)):
            event(self._draw, self.inputs, [self.preview], trigger_mode="always_last", **LIGHT)

    def _visible(self, values: Values) -> Updates:
        who = values[self.who]
        return {self._several: gr.update(visible=who == SEVERAL), self._new: gr.update(visible=who == NEW)}

    def _offer(self, values: Values) -> Updates:
        backend = self._shell.backend
        root = backend.engine().models.root if backend.ready else None
        names = sorted(load_presets(root), key=place_of_name)
        chosen = [name for name in values[self.expressions] if name in names]
        return {self.expressions: gr.update(choices=names, value=chosen)}

    @shows_errors
    def _draw(self, values: Values, request: gr.Request) -> Updates:
        del request
        try:
            wanted = self.wanted(values)
            wanted.check()
            engine = self._shell.backend.engine()
            wishes = datasets.wishes_of(wanted, engine.models.root)
        except Arc2FaceError as error:
            return {self.preview: markup.notes([(words(error), True)])}
        return {self.preview: _strip(engine, wishes) + markup.notes([(self._cost(engine, wanted), False)])}

    def _cost(self, engine: Engine, wanted: Wanted) -> str:
        from arc2face.dataset.planning import gigabytes

        total = wanted.people * wanted.pictures
        facts = [
            markup.people(wanted.people),
            f"{total} pictures",
            f"about {gigabytes(datasets.bytes_needed(wanted, engine.native_size))}",
        ]
        if self.seconds is not None:
            seconds = self.seconds * total
            facts.append(f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min")
        return " · ".join(facts)


def _strip(engine: Engine, wishes: list[Wish]) -> str:
    """What the first person's pictures will show: a head per picture, or its words where there is no head model."""
    cells = [_cell(engine, wish) for wish in wishes[:SHOWN]]
    more = f'<span class="more">+{len(wishes) - SHOWN}</span>' if len(wishes) > SHOWN else ""
    head = f'<p class="hint">{HEADS}</p>'
    return f'{head}<div class="set-plan">{"".join(cells)}{more}</div>'


def _cell(engine: Engine, wish: Wish) -> str:
    said = datasets.shows(wish) or "As drawn"
    try:
        expression = None if wish.expression is None else expression_of(wish.expression)
        head = clay(engine.normal_map(*(wish.angles or (0.0, 0.0, 0.0)), expression=expression, size=CELL))
    except Arc2FaceError:
        return f'<span class="cell">{markup.facts(said)}</span>'
    return f'<span class="cell"><img alt="" src="{markup.data_uri(head)}">{markup.facts(said)}</span>'
