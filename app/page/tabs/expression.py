"""Expression: the same person with another expression, as a new picture or in their own photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from app.page import markup
from app.page.parts import sequences
from app.page.parts.examples import ExampleStrip
from app.page.parts.expression import ExpressionControls
from app.page.parts.expression_edit import expression_of
from app.page.parts.look import LookControls
from app.page.parts.notices import missing_notice
from app.page.parts.person import PersonPicker
from app.page.parts.photos import PhotoPicker, Photos
from app.page.parts.pose import OFF, PoseControls
from app.page.parts.recipe import RecipeDrop
from app.page.parts.results import ResultsPanel, RunButtons, Updates
from app.page.parts.settings import GenerationControls, Settings
from app.page.parts.workbench import Plan, Workbench
from app.runs import runner
from app.runs.pictures import Picture, pack
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import Expression, ExpressionCondition, GenerationRequest

if TYPE_CHECKING:
    from app.runs.backend import Backend
    from app.runs.shell import Shell
    from arc2face.engine import Engine

TITLE = "Expression"
LEAD = "Add a photo of someone, then an expression: from another photo, from a preset, or with the sliders."
MAX_TARGETS = 12


def build(engine: Backend, shell: Shell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("Change the expression", LEAD))
    missing_notice(shell, "expression")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            person = PersonPicker(shell)
            strip = ExampleStrip(shell)
            gr.HTML(markup.step(2, "Choose the expression"))
            editor = ExpressionControls(shell)
            gr.HTML(markup.step(3, "Choose the kind of picture"))
            look = LookControls()
            controls = GenerationControls()
            buttons = RunButtons("Make pictures")
            editor.build_more()
            with gr.Accordion("Turn the head as well", open=False):
                pose = PoseControls(shell, optional=True)
            pose.build_advanced()
            count, targets, series = _series(shell)
            controls.build_advanced()
            person.build_more()
            drop = RecipeDrop(
                controls,
                also=lambda recipe: {**editor.restored(recipe), **look.restored(recipe)},
                outputs=[*editor.restorable, look.mode, look.kept, look.look],
            )
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            look.build_comparison()
            panel = ResultsPanel(invitation="Add a photo, choose an expression, and press Make pictures.")
    editor.draw_when(shell.here.select)
    tab = _Tab(person, editor, look, pose, panel)
    bench = Workbench(
        shell=shell,
        title=TITLE,
        person=person,
        controls=controls,
        panel=panel,
        buttons=buttons,
        strip=strip,
        drop=drop,
        more=[*editor.inputs, *look.inputs, *pose.inputs, count, *targets.inputs],
        outputs=look.outputs,
    )
    bench.connect(tab.plan, tab.verdicts)
    bench.add_action(series, tab.strip)


class _Tab:
    """Turns the values of the tab's widgets into plans."""

    def __init__(
        self,
        person: PersonPicker,
        editor: ExpressionControls,
        look: LookControls,
        pose: PoseControls,
        panel: ResultsPanel,
    ) -> None:
        self.person, self.editor, self.look, self.pose, self.panel = person, editor, look, pose, panel

    def verdicts(self, *more: Any) -> list[dict[str, Any]]:
        """One verdict per value of `more`."""
        rest = [gr.validate(True, "") for _ in more[16:]]
        return [*(gr.validate(True, "") for _ in more[:6]), *self.pose.verdicts(*more[6:16]), *rest]

    def plan(self, who: Sequence[Any], settings: Settings, more: Sequence[Any]) -> Plan:
        """One request with the edited expression."""
        engines: list[Engine] = []
        whom = (who[0], who[1])

        def prepare(opened: Engine) -> list[GenerationRequest]:
            engines.append(opened)
            base = self._base(opened, who, settings, more)
            return [base.with_(expression=ExpressionCondition(expression_of(more[0].now), more[1]))]

        def extras(results: runner.Results, pictures: Sequence[Picture]) -> Updates:
            updates, files = self.look.pasted(engines[0], whom, more[2:6], results, pictures)
            if files:
                archive = pack([*(picture.path for picture in pictures), *files])
                updates[self.panel.zip] = gr.update(value=str(archive))
            return updates

        return Plan(prepare=prepare, extras=extras)

    def strip(self, who: Sequence[Any], settings: Settings, more: Sequence[Any]) -> Plan:
        """The same picture with rising amounts, or once per target photo."""
        count, photos, picks = more[16:19]
        shares = np.linspace(0.0, 1.0, int(count))
        one = {"num_images": 1, "keep_best": 0}

        def prepare(opened: Engine) -> list[GenerationRequest]:
            base = self._base(opened, who, settings, more).with_(**one)
            targets = _targets(opened, photos, picks) or [
                Expression(expression_of(more[0].now).values * s) for s in shares
            ]
            return [base.with_(expression=ExpressionCondition(target, more[1])) for target in targets]

        def extras(_: runner.Results, pictures: Sequence[Picture]) -> Updates:
            return {**self.look.hidden(), **sequences.updates(self.panel, pictures)}

        names = [f"Photo {k + 1}" for k in range(len(photos))] if photos else [f"{share:.0%}" for share in shares]
        return Plan(prepare=prepare, names=names, extras=extras)

    def _base(self, engine: Engine, who: Sequence[Any], settings: Settings, more: Sequence[Any]) -> GenerationRequest:
        whom = (who[0], who[1])
        identity = self.person.identity(*who).identity
        reference = self.look.condition(engine, whom, more[2:6])
        condition = None
        if more[6] != OFF:
            posed = self.pose.pose(engine, whom, more[6:16])
            for warning in posed.warnings:
                gr.Warning(warning)
            condition = self.pose.condition(posed, more[6:16])
        return GenerationRequest(identity=identity, reference=reference, pose=condition, **settings.fields)


def _targets(engine: Engine, photos: Photos | None, picks: Any) -> list[Expression]:
    chosen = [(path, (picks or {}).get(path, 0)) for path, _ in photos or ()]
    return [engine.read_expression(load_rgb_u8(path), pick) for path, pick in chosen]


def _series(shell: Shell) -> tuple[gr.Slider, PhotoPicker, gr.Button]:
    with gr.Accordion("Expression strip: one person, many expressions", open=False):
        gr.HTML(markup.hint("From neutral to the expression above, or one picture per photo you add here; one seed."))
        count = gr.Slider(3, MAX_TARGETS, value=5, step=1, label="Amounts", buttons=[])
        targets = PhotoPicker(shell, label="Target photos (optional)", text="", most=MAX_TARGETS)
        button = gr.Button("Make a strip")
    return count, targets, button
