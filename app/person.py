"""Who: the widgets for photos of a person or a saved identity, with a chooser where a photo holds several faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app import snippets
from app.errors import shows_errors
from app.shell import LIGHT, Shell
from arc2face.errors import Arc2FaceError, InputError, NoFaceError
from arc2face.imaging import load_rgb_u8
from arc2face.types import RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.identities import IdentityReport
    from arc2face.types import IdentityEmbedding

Photos = Sequence[tuple[str, str | None]]
"""Value of a Gallery with type="filepath": (path, caption) per picture."""
MAX_PHOTOS = 12


class Identified(NamedTuple):
    """Who was found. `report`: on the photos, None for an identity file. `warnings`: sentences for the user."""

    identity: IdentityEmbedding
    report: IdentityReport | None
    warnings: tuple[str, ...]


class PersonPicker:
    """Photos of one person, or an identity file, and which face counts in each photo.

    `inputs` are the components an event needs; `identity` turns their values into an embedding.
    """

    def __init__(self, shell: Shell, *, number: int = 1, title: str = "Add a photo of someone") -> None:
        self._shell = shell
        gr.HTML(snippets.step(number, title))
        self.photos = gr.Gallery(
            label="Photos of one person",
            show_label=False,
            type="filepath",
            file_types=["image"],
            interactive=True,
            columns=3,
            height=220,
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            elem_classes=["photos"],
        )
        self.report = gr.HTML(snippets.hint("One photo is enough; several of the same person are better."))
        self.picks: gr.State = gr.State({})
        self.shown: gr.State = gr.State("")
        with gr.Column(visible=False, elem_classes=["chooser"]) as self.chooser:
            self.boxes = gr.Image(
                label="Several people are in this photo: choose one", interactive=False, buttons=[], height=260
            )
            self.face = gr.Radio([], label="Which face?")

    def build_more(self) -> None:
        """The folded part, placed by the tab where it is out of the way: identity files and several photos."""
        with gr.Accordion("Saved identity, several photos", open=False) as self.more:
            gr.HTML(snippets.hint("A saved identity (.npz or .npy) replaces the photos."))
            self.identity_file = gr.File(
                label="Saved identity", show_label=False, file_types=[".npz", ".npy"], height=72, elem_classes=["drop"]
            )
            self.method = gr.Radio(
                [("Average", "mean"), ("Median, less swayed by one odd photo", "median")],
                value="mean",
                label="Combine several photos by",
            )
            self.drop_outliers = gr.Checkbox(False, label="Leave out photos that look like someone else")
            self.save = gr.Button("Save this identity to a file", size="sm")
            self.saved = gr.File(label="Saved identity (numbers only, no picture)", visible=False, interactive=False)
        self._connect()

    @property
    def inputs(self) -> list[Any]:
        """Photos, picks, identity file, method, leave-out switch: the first five arguments of an event."""
        return [self.photos, self.picks, self.identity_file, self.method, self.drop_outliers]

    def validate(self, photos: Photos | None, identity_file: str | None) -> list[dict[str, Any]]:
        """One verdict per entry of `inputs`, for a Gradio validator."""
        verdict = gr.validate(bool(photos) or bool(identity_file), "Add a photo of a person first.")
        too_many = len(photos or ()) > MAX_PHOTOS
        if too_many:
            verdict = gr.validate(False, f"At most {MAX_PHOTOS} photos of one person, please.")
        return [verdict, *(gr.validate(True, "") for _ in range(4))]

    @property
    def _views(self) -> list[Any]:
        return [self.report, self.picks, self.shown, self.chooser, self.boxes, self.face]

    def inspect_after(self, event: Any) -> None:
        """Look at the photos once `event` has put them there: a gallery tells only of a visitor's own changes."""
        event.success(self._inspect, [self.photos, self.picks], self._views, **LIGHT)

    def _connect(self) -> None:
        self.photos.change(self._inspect, [self.photos, self.picks], self._views, **LIGHT)
        self.photos.select(self._show, [self.photos, self.picks], self._views[2:], **LIGHT)
        self.face.input(self._pick, [self.photos, self.picks, self.shown, self.face], [self.picks, self.boxes], **LIGHT)
        self.boxes.select(
            self._click, [self.photos, self.picks, self.shown], [self.picks, self.boxes, self.face], **LIGHT
        )
        self.save.click(self._save, self.inputs, self.saved, **LIGHT)

    def _inspect(self, photos: Photos | None, picks: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
        """Say what was found in each photo, and open the chooser where one is needed."""
        skip = gr.skip()
        if not photos:
            text = snippets.hint("One photo is enough; several of the same person are better.")
            yield text, {}, "", gr.update(visible=False), None, gr.update(choices=[])
            return
        if not self._shell.backend.ready:
            waiting = snippets.notes([("Looking for a face as soon as the models are loaded.", False)])
            yield waiting, *(skip for _ in range(5))
        lines: list[tuple[str, bool]] = []
        crowded, kept = "", {}
        try:
            engine = self._shell.backend.engine()
            for number, (path, _) in enumerate(photos, 1):
                found = _faces_of(engine, path, f"Photo {number}" if len(photos) > 1 else "This photo", lines)
                if found > 1:
                    crowded = crowded or path
                    kept[path] = min(picks.get(path, 0), found - 1)
            if len(photos) > 1 and not lines:
                lines.extend(_agreement(engine, photos, kept))
        except Arc2FaceError as error:
            lines.append((str(error), True))
        if crowded and not lines:
            lines.append(("Several people here. The largest face is chosen; tap another one to change that.", False))
        good = "1 face found." if len(photos) == 1 else f"{len(photos)} photos, a face in each."
        yield snippets.notes(lines) or snippets.hint(good), kept, crowded, *self._chooser_views(crowded, kept)

    def _show(self, photos: Photos | None, picks: Mapping[str, int], event: gr.SelectData) -> tuple[Any, ...]:
        """Open the chooser for the photo that was clicked, if it holds several faces."""
        index = event.index if isinstance(event.index, int) else 0
        path = photos[index][0] if photos and index < len(photos) else ""
        path = path if path in picks else next(iter(picks), "")
        return path, *self._chooser_views(path, picks)

    def _pick(self, photos: Photos, picks: Mapping[str, int], shown: str, face: str) -> tuple[Any, ...]:
        changed = {**picks, shown: int(face) - 1}
        return changed, self._boxed(shown, changed)[0]

    def _click(self, photos: Photos, picks: Mapping[str, int], shown: str, event: gr.SelectData) -> tuple[Any, ...]:
        x, y = event.index
        _, faces = self._boxed(shown, picks)
        boxes = [face.box for face in faces]
        inside = [k for k, box in enumerate(boxes) if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
        changed = {**picks, shown: inside[0]} if inside else dict(picks)
        return changed, self._boxed(shown, changed)[0], str(changed[shown] + 1)

    def _chooser_views(self, path: str, picks: Mapping[str, int]) -> tuple[Any, Any, Any]:
        if not path:
            return gr.update(visible=False), None, gr.update(choices=[], value=None)
        picture, faces = self._boxed(path, picks)
        names = [str(k + 1) for k in range(len(faces))]
        return gr.update(visible=True), picture, gr.update(choices=names, value=names[picks[path]])

    def _boxed(self, path: str, picks: Mapping[str, int]) -> tuple[RgbU8, Sequence[Any]]:
        from arc2face.face_preview import draw_boxes

        rgb = load_rgb_u8(path)
        faces = self._shell.backend.engine().faces.detect(rgb)
        return draw_boxes(rgb, faces, picks.get(path, 0)), faces

    def identity(self, *values: Any) -> Identified:
        """The embedding for the values of `inputs`, the report on its photos if any, and warnings."""
        return resolve_identity(self._shell.backend.engine(), *values)

    @shows_errors
    def _save(self, *values: Any) -> Any:
        from arc2face.identities import save_identity

        if not values[0] and not values[2]:
            raise InputError("Add a photo of a person first.")
        identity, _, _ = self.identity(*values)
        target = self._shell.files.new_run("identities") / "identity.npz"
        save_identity(target, identity)
        return gr.update(value=str(target), visible=True)


def resolve_identity(
    engine: Engine,
    photos: Photos | None,
    picks: Mapping[str, int] | None,
    identity_file: str | None,
    method: str = "mean",
    drop_outliers: bool = False,
) -> Identified:
    """An identity file if there is one, else the photos combined.

    Raises:
        InputError: neither is given, or a photo is unreadable or shows no face.
    """
    if identity_file:
        from arc2face.identities import load_identity

        identity, warnings = load_identity(Path(identity_file), engine.faces.recogniser_sha256)
        return Identified(identity, None, tuple(warnings))
    if not photos:
        raise InputError("Add a photo of a person first.")
    pictures = [load_rgb_u8(path) for path, _ in photos]
    chosen = [(picks or {}).get(path, 0) for path, _ in photos]
    report = engine.identify(pictures, picks=chosen, method=method, drop_outliers=drop_outliers)
    return Identified(report.identity, report, report.warnings)


def _faces_of(engine: Engine, path: str, name: str, lines: list[tuple[str, bool]]) -> int:
    """How many faces a photo holds; problems are added to `lines`."""
    try:
        found = len(engine.faces.detect(load_rgb_u8(path)))
    except InputError as error:
        lines.append((f"{name}: {error}", True))
        return 0
    if not found:
        lines.append((f"{name}: no face was found. Use a picture in which one face is clearly visible.", True))
    return found


def _agreement(engine: Engine, photos: Photos, picks: Mapping[str, int]) -> Iterator[tuple[str, bool]]:
    """One line on how well several photos agree on one person."""
    try:
        _, report, _ = resolve_identity(engine, photos, picks, None)
    except NoFaceError as error:
        yield str(error), True
        return
    if report is None:
        return
    cosines = ", ".join(f"{cosine:.2f}" for cosine in report.cosines)
    yield f"{len(photos)} photos, a face in each. Agreement with the group: {cosines}.", False
    for outlier in report.outliers:
        yield f"Photo {outlier + 1} looks like someone else. Remove it, or switch on leaving such photos out.", True
