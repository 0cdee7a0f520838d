"""Pose: the same person, turned as a photo, the sliders or a normal map say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from arc2face.errors import InputError
from arc2face.series import turntable
from arc2face.settings import YAW_LIMIT
from arc2face.sources import Posed, find_pose
from arc2face_app.page import markup
from arc2face_app.page.messages import warn
from arc2face_app.page.parts.keyed import Updates
from arc2face_app.page.parts.notices import missing_notice
from arc2face_app.page.parts.pose import NO_POSE_PHOTO, SLIDERS, PoseControls
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.parts.showcase import showcase
from arc2face_app.page.parts.workbench import Asked, Work, Workbench

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.runs.backend import Backend

TITLE = "Pose"
LEAD = "The person above, looking where you say. The models know heads seen from the front half."


def build(engine: Backend, shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("Turn the head", LEAD))
    missing_notice(shell, "pose")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            gr.HTML(markup.step(2, "Choose the pose"))
            pose = PoseControls(shell)
            pose.angles.draw_when(shell.here.select)
            shell.drawers.append(pose.angles.draw_when)
            gr.HTML(markup.step(3, "Choose how many"))
            controls = GenerationControls()
            turns, extent, turn = _turntable()
            controls.build_advanced(pose.build_advanced)
            drop = RecipeDrop(controls, pose)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            buttons = RunButtons("Make pictures")
            panel = ResultsPanel(
                invitation="Add a photo, choose a pose, and press Make pictures.",
                showcase=showcase("pose"),
                aside=("Pose photo, aligned", "Normal map"),
            )

    def plan(asked: Asked) -> Work:
        posed = find_pose(asked.engine, pose.source(asked.values, asked.session), asked.person)
        if posed is None:
            raise InputError(NO_POSE_PHOTO)
        for warning in posed.warnings:
            warn(warning)
        extra = partial(_beside, panel, posed)
        request = asked.base.with_(pose=posed.condition)
        return Work(requests=[request], extras=[extra], notes=pose.notes(asked.values))

    def turned(asked: Asked) -> Work:
        count, widest = asked.values[turns], asked.values[extent]
        nod = asked.values[pose.angles.pitch] if asked.values[pose.mode] == SLIDERS else 0.0
        frames = turntable(asked.engine, asked.base, count, widest, nod, **pose.acting(asked.values))
        return Work.of_series(frames)

    bench = Workbench(
        shell=shell,
        title=TITLE,
        controls=controls,
        panel=panel,
        buttons=buttons,
        drop=drop,
        more={*pose.inputs, turns, extent},
    )
    bench.connect(plan, pose.rules)
    bench.add_action(turn, turned)


def _beside(panel: ResultsPanel, posed: Posed, *_: object) -> tuple[Updates, Sequence[Path]]:
    """The pose as the models saw it, under the pictures."""
    return panel.with_aside(posed.aligned, posed.condition.normal_map), ()


def _turntable() -> tuple[gr.Slider, gr.Slider, gr.Button]:
    with gr.Accordion("Turntable: many angles", open=False):
        gr.HTML(markup.hint("One picture per angle with the same seed, as a contact sheet and an animation."))
        turns = gr.Slider(3, 16, value=7, step=1, label="Angles", buttons=[])
        extent = gr.Slider(15, YAW_LIMIT, value=50, step=5, label="From this far left to this far right", buttons=[])
        button = gr.Button("Make a turntable")
    return turns, extent, button
