"""Expression: the same person with another expression, as a new picture or in their own photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from arc2face.series import expression_gallery, expression_strip
from arc2face.settings import PasteMask
from arc2face.sources import ExpressionSource, find_expression, find_look, find_pose
from arc2face.types import ExpressionCondition, GenerationRequest
from arc2face_app.page import markup
from arc2face_app.page.messages import warn
from arc2face_app.page.parts.expression import ExpressionControls
from arc2face_app.page.parts.keyed import Updates
from arc2face_app.page.parts.look import LookControls
from arc2face_app.page.parts.notices import missing_notice
from arc2face_app.page.parts.photos import PhotoPicker
from arc2face_app.page.parts.pose import PoseControls
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.parts.showcase import showcase
from arc2face_app.page.parts.workbench import Asked, Extra, Work, Workbench
from arc2face_app.runs import runner
from arc2face_app.runs.pictures import Picture

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.runs.backend import Backend

TITLE = "Expression"
LEAD = "The person above with another expression: one by name, that of another photo, or one made with sliders."
MAX_TARGETS = 12


def build(engine: Backend, shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("Change the expression", LEAD))
    missing_notice(shell, "expression")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            gr.HTML(markup.step(2, "Choose the expression"))
            editor = ExpressionControls(shell)
            gr.HTML(markup.step(3, "Choose the kind of picture"))
            look = LookControls()
            controls = GenerationControls()
            editor.build_more()
            with gr.Accordion("Turn the head as well", open=False):
                pose = PoseControls(shell, optional=True)
                pose.build_advanced()
            count, targets, series = _series(shell)
            controls.build_advanced()
            drop = RecipeDrop(controls, editor, look, pose)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            buttons = RunButtons("Make pictures")
            panel = ResultsPanel(
                invitation="Add a photo, choose an expression, and press Make pictures.",
                showcase=showcase("expression"),
                above=look.build_comparison,
            )
    editor.draw_when(shell.here.select)
    shell.drawers.append(editor.draw_when)
    tab = _Tab(editor, look, pose, panel, count, targets)
    bench = Workbench(
        shell=shell,
        title=TITLE,
        controls=controls,
        panel=panel,
        buttons=buttons,
        drop=drop,
        more={*editor.inputs, *look.inputs, *pose.inputs, count, *targets.inputs},
        outputs=look.outputs,
        cleared=look.hidden,
    )
    rules = {**editor.rules, **pose.rules}
    bench.connect(tab.plan, rules)
    bench.add_action(series, tab.strip, {**rules, **targets.rules()})


class _Tab:
    """Turns what was asked for into work."""

    def __init__(
        self,
        editor: ExpressionControls,
        look: LookControls,
        pose: PoseControls,
        panel: ResultsPanel,
        count: gr.Slider,
        targets: PhotoPicker,
    ) -> None:
        self.editor, self.look, self.pose, self.panel = editor, look, pose, panel
        self.count, self.targets = count, targets

    def plan(self, asked: Asked) -> Work:
        """One request with the edited expression."""
        condition = ExpressionCondition(
            self.editor.expression(asked.values, asked.session), asked.values[self.editor.strength]
        )
        request = self._base(asked).with_(expression=condition)
        mask = self.look.source(asked.values).paste
        extras = [self._pasted(asked, mask)] if mask is not None else []
        notes = {**self.look.notes(asked.values), **self.pose.notes(asked.values), **self.editor.notes(asked.values)}
        return Work(requests=[request], extras=extras, notes=notes)

    def strip(self, asked: Asked) -> Work:
        """The same picture with rising amounts, or once per target photo."""
        base, strength = self._base(asked), asked.values[self.editor.strength]
        photos = self.targets.all(asked.values, asked.session)
        if not photos:
            expression = self.editor.expression(asked.values, asked.session)
            return Work.of_series(expression_strip(base, expression, asked.values[self.count], strength=strength))
        found = [
            find_expression(asked.engine, ExpressionSource(photo=photo, face=face))
            for photo, face in zip(photos, self.targets.picked(asked.values), strict=True)
        ]
        names = [f"Photo {k + 1}" for k in range(len(found))]
        return Work.of_series(expression_gallery(base, found, names, strength=strength))

    def _base(self, asked: Asked) -> GenerationRequest:
        """Person, settings, look and pose."""
        reference = find_look(asked.engine, self.look.source(asked.values), asked.person)
        posed = find_pose(asked.engine, self.pose.source(asked.values, asked.session), asked.person)
        for warning in posed.warnings if posed is not None else ():
            warn(warning)
        return asked.base.with_(reference=reference, pose=None if posed is None else posed.condition)

    def _pasted(self, asked: Asked, mask: PasteMask) -> Extra:
        def extra(results: runner.Results, pictures: Sequence[Picture]) -> tuple[Updates, Sequence[Picture]]:
            return self.look.pasted(asked.engine, asked.person, mask, results, pictures)

        return extra


def _series(shell: PageShell) -> tuple[gr.Slider, PhotoPicker, gr.Button]:
    with gr.Accordion("Expression strip: many expressions", open=False):
        gr.HTML(markup.hint("From neutral to the expression above, or one picture per photo you add here; one seed."))
        count = gr.Slider(3, MAX_TARGETS, value=5, step=1, label="Amounts", buttons=[])
        targets = PhotoPicker(shell, label="Target photos (optional)", text="", most=MAX_TARGETS)
        button = gr.Button("Make a strip")
    return count, targets, button
