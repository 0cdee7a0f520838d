"""A drop zone for photos that says at once what it found in them, with a chooser where there are several faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app.page import markup
from app.runs.shell import LIGHT, Shell
from arc2face.errors import Arc2FaceError, InputError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine

Photos = Sequence[tuple[str, str | None]]
"""Value of a Gallery with type="filepath": (path, caption) per picture."""
Line = tuple[str, bool]
"""A sentence and whether it is a warning."""
SEVERAL = "Several people here. The largest face is chosen; tap another one to change that."


class Chosen(NamedTuple):
    """One photo and which of its faces counts (0 is the largest)."""

    rgb_u8: RgbU8
    pick: int


class PhotoPicker:
    """One photo, or up to `most` of them. `inputs` are two components: the photos, and the picks by path.

    The picks hold every photo that shows a face, so their change event tells that there is something new to look at.

    `text`: what stands under the empty drop zone. `faces`: False for pictures in which no face is looked for.
    """

    def __init__(
        self, shell: Shell, *, label: str, text: str, most: int = 1, faces: bool = True, height: int = 150
    ) -> None:
        self._shell = shell
        self._text = text
        self._most = most
        # A Gallery hands over the file as it was uploaded; gr.Image would decode it first, and fail without a message.
        self.photos = gr.Gallery(
            label=label,
            type="filepath",
            file_types=["image"],
            interactive=True,
            columns=3,
            height=height,
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            elem_classes=["photos"],
        )
        self.report = gr.HTML(markup.hint(text) if text else "")
        self.picks: gr.State = gr.State({})
        self.shown: gr.State = gr.State("")
        with gr.Column(visible=False, elem_classes=["chooser"]) as self.chooser:
            self.boxes = gr.Image(
                label="Several people are in this photo", show_label=False, interactive=False, buttons=[], height=240
            )
            self.face = gr.Radio([], label="Which face?")
        if faces:
            self._connect_chooser()

    @property
    def inputs(self) -> list[Any]:
        """Photos and picks."""
        return self._own

    @property
    def _own(self) -> list[Any]:
        return [self.photos, self.picks]

    @property
    def _views(self) -> list[Any]:
        return [self.report, self.picks, self.shown, self.chooser, self.boxes, self.face]

    def verdict(self, photos: Photos | None, *, missing: str = "Add a photo first.") -> dict[str, Any]:
        """A validator's verdict on the drop zone; an empty `missing` means the photo is optional."""
        if missing and not photos:
            return gr.validate(False, missing)
        if len(photos or ()) > self._most:
            return gr.validate(False, "One photo only, please." if self._most == 1 else f"At most {self._most} photos.")
        return gr.validate(True, "")

    def inspect_after(self, event: Any) -> None:
        """Look at the photos once `event` has put them there: a gallery tells only of a visitor's own changes."""
        event.success(self._inspect, self._own, self._views, **LIGHT)

    def chosen(self, photos: Photos, picks: Mapping[str, int] | None) -> Chosen:
        """The first photo, decoded, and its pick. Raises ImageError."""
        path = photos[0][0]
        return Chosen(load_rgb_u8(path), (picks or {}).get(path, 0))

    def _connect_chooser(self) -> None:
        shown = [self.photos, self.picks, self.shown]
        self.photos.change(self._inspect, self._own, self._views, **LIGHT)
        self.photos.select(self._show, self._own, self._views[2:], **LIGHT)
        self.face.input(self._pick, [*shown, self.face], [self.picks, self.boxes], **LIGHT)
        self.boxes.select(self._click, shown, [self.picks, self.boxes, self.face], **LIGHT)

    def _inspect(self, photos: Photos | None, picks: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
        """Say what was found in each photo, and open the chooser where one is needed."""
        if not photos:
            hint = markup.hint(self._text) if self._text else ""
            yield hint, {}, "", gr.update(visible=False), None, gr.update(choices=[])
            return
        if not self._shell.backend.ready:
            waiting = markup.notes([("Looking for a face as soon as the models are loaded.", False)])
            yield waiting, *(gr.skip() for _ in range(5))
        lines: list[Line] = []
        kept: dict[str, int] = {}
        crowded = ""
        try:
            lines, kept, crowded = self._look(self._shell.backend.engine(), photos, picks)
        except Arc2FaceError as error:
            lines = [(str(error), True)]
        good = "1 face found." if len(photos) == 1 else f"{len(photos)} photos, a face in each."
        yield markup.notes(lines) or markup.hint(good), kept, crowded, *self._chooser_views(crowded, kept)

    def _look(self, engine: Engine, photos: Photos, picks: Mapping[str, int]) -> tuple[list[Line], dict[str, int], str]:
        """What to say, the pick of every photo with a face, and the first photo that needs a choice."""
        lines: list[Line] = []
        kept: dict[str, int] = {}
        crowded = ""
        for number, (path, _) in enumerate(photos, 1):
            found = faces_of(engine, path, f"Photo {number}" if len(photos) > 1 else "This photo", lines)
            if found:
                kept[path] = min(picks.get(path, 0), found - 1)
            if found > 1:
                crowded = crowded or path
        if len(photos) > 1 and not lines:
            lines.extend(self.compare(engine, photos, kept))
        if crowded and not lines:
            lines.append((SEVERAL, False))
        return lines, kept, crowded

    def compare(self, engine: Engine, photos: Photos, picks: Mapping[str, int]) -> Iterator[Line]:
        """Lines on how several photos fit together; a picker for one photo has none."""
        del engine, picks
        if len(photos) > self._most:
            yield self.verdict(photos)["message"], True

    def _show(self, photos: Photos | None, picks: Mapping[str, int], event: gr.SelectData) -> tuple[Any, ...]:
        """Open the chooser for the photo that was clicked, if it holds several faces."""
        index = event.index if isinstance(event.index, int) else 0
        path = photos[index][0] if photos and index < len(photos) else ""
        if path not in picks or len(self._boxed(path, picks)[1]) < 2:
            return tuple(gr.skip() for _ in range(4))
        return path, *self._chooser_views(path, picks)

    def _pick(self, photos: Photos, picks: Mapping[str, int], shown: str, face: str) -> tuple[Any, ...]:
        changed = {**picks, shown: int(face) - 1}
        return changed, self._boxed(shown, changed)[0]

    def _click(self, photos: Photos, picks: Mapping[str, int], shown: str, event: gr.SelectData) -> tuple[Any, ...]:
        x, y = event.index
        boxes = [face.box for face in self._boxed(shown, picks)[1]]
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
        from arc2face.faces.boxes import draw_boxes

        rgb = load_rgb_u8(path)
        faces = self._shell.backend.engine().faces.detect(rgb)
        return draw_boxes(rgb, faces, picks.get(path, 0)), faces


def faces_of(engine: Engine, path: str, name: str, lines: list[Line]) -> int:
    """How many faces a photo holds; problems are added to `lines`."""
    try:
        found = len(engine.faces.detect(load_rgb_u8(path)))
    except InputError as error:
        lines.append((f"{name}: {error}", True))
        return 0
    if not found:
        lines.append((f"{name}: no face was found. Use a picture in which one face is clearly visible.", True))
    return found
