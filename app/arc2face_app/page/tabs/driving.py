"""Video: the person moves as a face in a video, before the webcam, or in a blendshape recording moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.driving import Shot, driven, paste_shot
from arc2face.errors import Arc2FaceError, CancelledError
from arc2face.settings import CONTROL_STRENGTH_RANGE
from arc2face.sources import Person, find_look
from arc2face.types import GenerationResult, Progress
from arc2face_app.page import markup
from arc2face_app.page.messages import warn, words
from arc2face_app.page.parts.keyed import Updates, Values
from arc2face_app.page.parts.look import LookControls
from arc2face_app.page.parts.motion import MotionControls
from arc2face_app.page.parts.notices import missing_notice
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import Made, ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.parts.workbench import Asked, Planner, Work, Workbench
from arc2face_app.runs import driving, runner
from arc2face_app.runs.pictures import Run, bound

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.runs.backend import Backend

TITLE = "Video"
LEAD = "The person above moves as you do: film yourself, or add a short video of anybody's face."
GO_ON = "Go on with the film"


def build(engine: Backend, shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead("Drive the expression", LEAD))
    missing_notice(shell, "expression")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            gr.HTML(markup.step(2, "Film a face, or add a video"))
            motion = MotionControls(shell)
            gr.HTML(markup.step(3, "Choose the kind of picture"))
            look = LookControls()
            controls = GenerationControls()
            controls.num_images.visible = False  # one per moment
            strength: list[gr.Slider] = []
            controls.build_advanced(lambda: strength.append(_strength()))
            controls.keep_best.visible = False
            drop = RecipeDrop(controls, look)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage", "filmed"]):
            buttons = RunButtons("Make the film")
            resume = gr.Button(GO_ON, visible=False, elem_classes=["go-on"])
            panel = ResultsPanel(
                invitation="Add a photo above, then a video, and press Make the film.", above=look.build_comparison
            )
    held: gr.State = gr.State(None)
    bench = FilmBench(
        shell=shell,
        title=TITLE,
        controls=controls,
        panel=panel,
        buttons=buttons,
        drop=drop,
        more={*motion.inputs, *look.inputs, strength[0], held},
        outputs={*look.outputs, resume, held},
        cleared=look.hidden,
        film=_Film(motion, look, strength[0], resume, held),
    )
    bench.connect(_new, motion.rules)
    bench.add_action(resume, _again)


def _strength() -> gr.Slider:
    return gr.Slider(
        *CONTROL_STRENGTH_RANGE,
        value=1,
        step=0.05,
        label="Strength",
        info="How firmly the pictures follow the expression; above 1 is untested.",
        buttons=[],
    )


@dataclass(frozen=True, slots=True)
class _Film:
    """The tab's own components. `held`: a `_Held`, or None while there is nothing to go on with."""

    motion: MotionControls
    look: LookControls
    strength: gr.Slider
    resume: gr.Button
    held: gr.State


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A film that was stopped, as it was asked for. `run`: what was made of it so far."""

    take: driving.Take
    person: Person
    mask: str | None
    run: Run | None = None


def _new(asked: Asked) -> Work:
    """Stands for a film from the form; what it consists of is known once the video was read."""
    return Work(requests=[asked.base])


def _again(asked: Asked) -> Work:
    """Stands for the film that was stopped."""
    return Work(requests=[asked.base])


@dataclass(slots=True, kw_only=True)
class FilmBench(Workbench):
    """A workbench whose pictures come one by one, stay when it is stopped, and become a film."""

    film: _Film

    def _run(self, plan: Planner, fields: dict[str, Any], values: Values, session: str) -> Iterator[Updates]:
        held: _Held | None = values[self.film.held] if plan is _again else None
        asked: list[Asked] = []
        takes: list[driving.Take] = []
        shots: list[Shot] = []

        def take(engine: Engine) -> driving.Takes:
            person = held.person if held is not None else self.person.person(engine, values, session)
            if held is None:
                for warning in person.warnings:
                    warn(warning)
            asked.append(self._asked(engine, session, values, person, fields))
            return held.take if held is not None else (yield from self._take(asked[0]))

        yield {self.film.resume: gr.update(visible=False)}
        ended: Exception | None = None
        try:
            for event in driving.follow(self.shell, session, take, self.title):
                if isinstance(event, Progress):
                    if event.stage != "done":
                        yield self.panel.progress(event)
                elif isinstance(event, Shot):
                    shots.append(event)
                else:
                    takes.append(event)
        except runner.ReplacedError:
            raise
        except Arc2FaceError as error:
            if not shots:
                raise
            ended = error
        mask = held.mask if held is not None else self.film.look.source(values).paste
        made = _Held(takes[0], asked[0].person, mask, held.run if held is not None else None)
        yield from self._made(asked[0], made, shots, ended)

    def _take(self, asked: Asked) -> driving.Takes:
        """Reads the video; says what it could not see."""
        reference = find_look(asked.engine, self.film.look.source(asked.values), asked.person)
        seen = yield from self.film.motion.performance(asked.engine, asked.values)
        for warning in seen.warnings:
            warn(warning)
        base = asked.base.with_(reference=reference)
        frames = driven(base, seen, asked.values[self.film.strength])
        return driving.Take(performance=seen, frames=tuple(frames))

    def _made(self, asked: Asked, held: _Held, shots: Sequence[Shot], ended: Exception | None) -> Iterator[Updates]:
        """The pictures, then the film; a film that was stopped can go on."""
        pictures = [driving.picture_of(shot) for shot in shots]
        if held.mask is not None:
            paths = [paste_shot(asked.engine, asked.person, shot, held.mask) for shot in shots]
            pictures = [
                replace(one, path=str(path), size=driving.size_of(path))
                for one, path in zip(pictures, paths, strict=True)
            ]
        run = Run.now(self.title, self._kept(pictures), self.person.name(asked.values), self._before(asked, pictures))
        run = replace(run, folded=True)
        if held.run is not None:  # the beginning of the same film
            self.shell.runs.supersede(asked.session, [picture.id for picture in held.run.pictures])
        revision = self.shell.runs.put(asked.session, run)
        done = self.panel.finished(self._source(asked), run, _results(shots), asked.session)
        more = ended is not None
        yield {
            **done,
            **(self._stopped(held, shots, ended) if ended is not None else {}),
            **self.buttons.free(),
            **self.cleared(),
            self.shell.history: revision,
            self.film.held: None,
        }
        try:
            film = driving.save_film_of(held.take, [picture.path for picture in pictures])
        except Arc2FaceError as error:  # the pictures are there, whatever else is not
            warn(words(error))
            yield {self.film.resume: gr.update(visible=more), self.film.held: replace(held, run=run) if more else None}
            return
        run = run.with_more(self._kept([bound(film, pictures)]))
        revision = self.shell.runs.put(asked.session, run)
        showing = self.panel.showing(Made(run.id).with_files([film]), asked.session)
        # Only now can it go on: what takes the place of this beginning has to know all that was kept of it.
        going_on = {self.film.resume: gr.update(visible=more), self.film.held: replace(held, run=run) if more else None}
        yield {**showing, self.shell.history: revision, **going_on}

    def _stopped(self, held: _Held, shots: Sequence[Shot], ended: Exception) -> Updates:
        """How much there is, and how to get the rest."""
        said = f"{len(shots)} of {len(held.take.frames)} pictures are finished and kept. “{GO_ON}” makes the rest."
        why = [] if isinstance(ended, CancelledError) else [(words(ended), True)]
        return {self.panel.status: gr.update(value=markup.notes([*why, (said, False)]), visible=True)}


def _results(shots: Sequence[Shot]) -> runner.Results:
    """What was made in this run; where all was there already, only what it was asked for."""
    made = tuple(shot.result for shot in shots if shot.result is not None)
    return made or (GenerationResult((), shots[0].frame.request, {}),)
