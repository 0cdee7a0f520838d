"""What can be done with a picture of a board: the ways back from the browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face import checks
from arc2face.errors import Arc2FaceError, InputError, SettingsError
from arc2face.weights.writing import copy_to
from arc2face_app.page.messages import as_shown, shows_errors, tell, words
from arc2face_app.page.parts.board import CARRY, FETCH, KEEP, REUSE, ids_of
from arc2face_app.page.parts.follow import GONE, TO_TOP, PageShell
from arc2face_app.page.parts.handed import fetch_after
from arc2face_app.page.parts.keyed import Component, Updates
from arc2face_app.page.parts.recipe import Recipe
from arc2face_app.runs.driving import film_as
from arc2face_app.runs.files import zip_files
from arc2face_app.runs.pictures import Picture, made_of
from arc2face_app.runs.shell import LIGHT, QUIET, TELLING, session_of

if TYPE_CHECKING:
    from arc2face_app.page.parts.workbench import Workbench

TABS = {"photo": "identity", "turn": "pose", "express": "expression"}
RESTORED = "Settings restored. The person above stays as chosen."
SEEDED = "Seed {} is set; the same settings make the same picture again."


class PictureTools:
    """Connects one board. `benches`: where settings may go back to, by tab."""

    def __init__(self, shell: PageShell, component: Any, packed: gr.DownloadButton) -> None:
        self._shell = shell
        self._board = component
        self._packed = packed

    def connect(self, benches: Iterable[Workbench]) -> None:
        """Wire every event of the board."""
        self._benches = {bench.title: bench for bench in benches}
        getattr(self._board, KEEP)(self._keep, None, [self._shell.history], trigger_mode="multiple", **TELLING)
        fetch_after(getattr(self._board, FETCH)(self._fetch, None, [self._packed], **LIGHT), self._packed)
        follow = self._shell.follow
        carried = getattr(self._board, CARRY)(self._carry, None, [*follow.outputs], **LIGHT)
        self._shell.person.inspect_after(carried)
        carried.success(None, None, None, js=TO_TOP, **QUIET)
        restorable: set[Component] = set(follow.outputs)
        for bench in self._benches.values():
            restorable |= bench.drop.outputs
        reused = getattr(self._board, REUSE)(self._reuse, None, [*restorable], **LIGHT)
        for bench in self._benches.values():
            bench.controls.follow_after(reused)

    def _picture(self, session: str, data: Mapping[str, Any]) -> Picture | None:
        found = data.get("id")
        return self._shell.runs.find(session, found) if isinstance(found, str) else None

    def _file(self, session: str, data: Mapping[str, Any]) -> Path:
        """The picture's file: the visitor's own, or what the outputs folder kept of it. Raises InputError."""
        picture = self._picture(session, data)
        if picture is not None and Path(picture.path).is_file():
            return Path(picture.path)
        if isinstance(data.get("saved"), str) and data["saved"]:
            return self._shell.outputs.find(data["saved"])
        raise InputError(GONE)

    @shows_errors
    def _keep(self, event: gr.EventData, request: gr.Request) -> Updates:
        """Favourites, deleting, clearing, and undoing that. What only the browser remembers is its own affair."""
        data, session, runs = _data(event), session_of(request), self._shell.runs
        what, ids = data.get("what"), ids_of(data)
        if what == "favourite":
            return {self._shell.history: runs.favour(session, ids, data.get("on") is True)}
        if what not in ("remove", "clear", "restore"):
            raise SettingsError("The page asked for something unknown; reload it.")
        if what != "clear":
            change: Callable[[str, str], None] = self._discard if what == "remove" else self._put_back
            names = data.get("saved")
            for name in names if isinstance(names, list) else ():
                change(session, str(name))
        change_list = {"remove": runs.remove, "clear": runs.clear, "restore": runs.restore}[what]
        return {self._shell.history: change_list(session, ids)}

    def _discard(self, session: str, name: str) -> None:
        """Take a picture out of the outputs folder, with a copy for the undo that goes with the session."""
        try:
            path = self._shell.outputs.find(name)
        except InputError:
            return
        copy = copy_to(path, self._shell.files.new_run(session) / path.name)
        self._shell.runs.bin(session)[name] = copy
        self._shell.outputs.remove(name)

    def _put_back(self, session: str, name: str) -> None:
        copy = self._shell.runs.bin(session).pop(name, None)
        if copy is not None:
            self._shell.outputs.put_back(name, copy)

    @shows_errors
    def _fetch(self, event: gr.EventData, request: gr.Request) -> Updates:
        """A larger copy of one picture, or a series as a film of another kind."""
        data, session = _data(event), session_of(request)
        if data.get("what") == "film":
            return {self._packed: str(self._film(session, data))}
        if data.get("what") == "zip":
            return {self._packed: str(self._zip(session, data))}
        from arc2face.pictures.enlarge import check_factor, enlarge_png

        factor = check_factor(data.get("factor"))
        source = self._file(session, data)
        target = self._shell.files.new_run(session) / f"{source.stem}-{factor}x.png"
        return {self._packed: str(enlarge_png(source, factor, target))}

    def _film(self, session: str, data: Mapping[str, Any]) -> Path:
        from arc2face.pictures.animation import save_animation
        from arc2face.pictures.loading import load_rgb_u8
        from arc2face.settings import ANIMATION_KINDS

        kind = checks.choice("The kind of animation", data.get("kind"), ANIMATION_KINDS)
        run = self._shell.runs.run(session, str(data.get("run")))
        if run is None or not made_of(run):
            raise InputError(GONE)
        paths = [picture.path for picture in made_of(run)]
        filmed = film_as(paths, kind)
        if filmed is not None:
            return filmed
        target = Path(paths[0]).with_name(f"animation.{kind}")
        return target if target.is_file() else save_animation([load_rgb_u8(path) for path in paths], target)

    def _zip(self, session: str, data: Mapping[str, Any]) -> Path:
        """The pictures that were named, as far as they are still there."""
        wanted, names = set(ids_of(data)), data.get("saved")
        paths = [Path(picture.path) for _, picture in self._shell.runs.shown(session) if picture.id in wanted]
        paths = [path for path in paths if path.is_file()]
        for name in names if isinstance(names, list) else ():
            with contextlib.suppress(InputError):
                paths.append(self._shell.outputs.find(str(name)))
        if not paths:
            raise InputError("There is nothing to pack: of these pictures only small copies are left.")
        return zip_files(paths, self._shell.files.new_run(session) / "arc2face-history.zip")

    @shows_errors
    def _carry(self, event: gr.EventData, request: gr.Request) -> Updates:
        """A picture becomes the person's photo, in the tab that was asked for."""
        data, session = _data(event), session_of(request)
        tab = checks.choice("The tab", data.get("what"), TABS)
        return self._shell.follow.use(str(self._file(session, data)), session, TABS[tab])

    def _reuse(self, event: gr.EventData, request: gr.Request) -> Iterator[Updates]:
        """Settings or the seed of a picture come back to its tab."""
        data, session = _data(event), session_of(request)
        try:
            bench = self._benches.get(str(data.get("tab")))
            if bench is None:
                raise InputError("There is no form on this page that the settings of this picture belong to.")
            recipe = self._recipe(session, data)
            opened = self._shell.follow.opened(bench.title.lower())
            if data.get("what") == "seed":
                yield {**bench.controls.seeded(recipe.part("settings").get("seed")), **opened}
                tell(SEEDED.format(recipe.part("settings")["seed"]))
                return
            yield {**bench.drop.restored(recipe), **opened}
            tell(RESTORED)
        except Exception as error:
            raise as_shown(words(error)) from None

    def _recipe(self, session: str, data: Mapping[str, Any]) -> Recipe:
        """From the file where there is one, else what the browser remembers, checked like any recipe from outside."""
        from arc2face.pictures.recipe_check import parse_recipe
        from arc2face.pictures.recipes import read_recipe

        try:
            return Recipe(read_recipe(self._file(session, data)))
        except Arc2FaceError:
            text = data.get("recipe")
            if not isinstance(text, str) or not text:
                raise InputError(GONE) from None
            return Recipe(parse_recipe(text))


def _data(event: gr.EventData) -> Mapping[str, Any]:
    data: Any = event._data  # pyright: ignore[reportPrivateUsage] - the only way to what an event brings
    return data if isinstance(data, dict) else {}
