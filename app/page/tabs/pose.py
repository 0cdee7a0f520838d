"""Pose: the same person, turned as a photo, the sliders or a normal map say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.page import markup
from app.page.parts import sequences
from app.page.parts.examples import ExampleStrip
from app.page.parts.notices import missing_notice
from app.page.parts.person import PersonPicker
from app.page.parts.pose import PoseControls, Posed
from app.page.parts.recipe import RecipeDrop
from app.page.parts.results import ResultsPanel, RunButtons, Updates
from app.page.parts.settings import GenerationControls, Settings
from app.page.parts.workbench import Plan, Workbench
from app.runs import runner
from app.runs.pictures import Picture
from arc2face.pose.values import YAW_LIMIT, turntable_angles
from arc2face.types import GenerationRequest, PoseCondition

if TYPE_CHECKING:
    from app.runs.backend import Backend
    from app.runs.shell import Shell
    from arc2face.engine import Engine

TITLE = "Pose"
LEAD = "Add a photo of someone and say where they should look. The models know heads seen from the front half."


def build(engine: Backend, shell: Shell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("Turn the head", LEAD))
    missing_notice(shell, "pose")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            person = PersonPicker(shell)
            strip = ExampleStrip(shell)
            gr.HTML(markup.step(2, "Choose the pose"))
            pose = PoseControls(shell)
            pose.angles.draw_when(shell.here.select)
            gr.HTML(markup.step(3, "Choose how many"))
            controls = GenerationControls()
            buttons = RunButtons("Make pictures")
            pose.build_advanced()
            turns, extent, turn = _turntable()
            controls.build_advanced()
            person.build_more()
            drop = RecipeDrop(controls, also=pose.restored, outputs=[pose.strength, pose.start, pose.end])
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            panel = ResultsPanel(
                invitation="Add a photo, choose a pose, and press Make pictures.",
                aside=("Pose photo, aligned", "Normal map"),
            )

    def plan(who: Sequence[Any], settings: Settings, more: Sequence[Any]) -> Plan:
        seen: list[Posed] = []

        def prepare(opened: Engine) -> list[GenerationRequest]:
            identity = person.identity(*who).identity
            seen.append(pose.pose(opened, (who[0], who[1]), more))
            for warning in seen[0].warnings:
                gr.Warning(warning)
            condition = pose.condition(seen[0], more)
            return [GenerationRequest(identity=identity, pose=condition, **settings.fields)]

        def extras(results: runner.Results, pictures: Sequence[Picture]) -> Updates:
            del results, pictures
            return panel.with_aside(seen[0].aligned, seen[0].normal_map)

        return Plan(prepare=prepare, extras=extras)

    def turntable(who: Sequence[Any], settings: Settings, more: Sequence[Any]) -> Plan:
        strength, start, end, count, widest = more[7:12]
        angles = turntable_angles(int(count), float(widest), float(more[2]) if more[0] == "Sliders" else 0.0)

        def prepare(opened: Engine) -> list[GenerationRequest]:
            identity = person.identity(*who).identity
            fields: dict[str, Any] = {**settings.fields, "num_images": 1, "keep_best": 0}
            poses = [PoseCondition(opened.normal_map(*angle), strength, start, end) for angle in angles]
            return [GenerationRequest(identity=identity, pose=each, **fields) for each in poses]

        names = [f"{round(yaw)}°" for yaw, _, _ in angles]
        return Plan(prepare=prepare, names=names, extras=lambda _, pictures: sequences.updates(panel, pictures))

    bench = Workbench(
        shell=shell,
        title=TITLE,
        person=person,
        controls=controls,
        panel=panel,
        buttons=buttons,
        strip=strip,
        drop=drop,
        more=[*pose.inputs, turns, extent],
    )
    bench.connect(plan, lambda *values: [*pose.verdicts(*values[:10]), *(gr.validate(True, "") for _ in values[10:])])
    bench.add_action(turn, turntable)


def _turntable() -> tuple[gr.Slider, gr.Slider, gr.Button]:
    with gr.Accordion("Turntable: one person from many angles", open=False):
        gr.HTML(markup.hint("One picture per angle with the same seed, as a contact sheet and an animation."))
        turns = gr.Slider(3, 16, value=7, step=1, label="Angles", buttons=[])
        extent = gr.Slider(15, YAW_LIMIT, value=50, step=5, label="From this far left to this far right", buttons=[])
        button = gr.Button("Make a turntable")
    return turns, extent, button
