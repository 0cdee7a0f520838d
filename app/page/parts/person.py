"""Who: photos of a person or a saved identity, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from app.page import markup
from app.page.parts.photos import Line, PhotoPicker, Photos
from app.runs.errors import shows_errors
from app.runs.shell import LIGHT, Shell, session_of
from arc2face.errors import InputError, NoFaceError
from arc2face.pictures.loading import load_rgb_u8

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.identities import IdentityReport
    from arc2face.types import IdentityEmbedding

MAX_PHOTOS = 12
NOBODY = "Add a photo of a person first."


class Identified(NamedTuple):
    """Who was found. `report`: on the photos, None for an identity file. `warnings`: sentences for the user."""

    identity: IdentityEmbedding
    report: IdentityReport | None
    warnings: tuple[str, ...]


class PersonPicker(PhotoPicker):
    """Photos of one person, or an identity file, and which face counts in each photo.

    `inputs` are the components an event needs; `identity` turns their values into an embedding.
    """

    FIELDS = 5
    """How many values `inputs` stands for."""

    def __init__(self, shell: Shell, *, number: int = 1, title: str = "Add a photo of someone") -> None:
        gr.HTML(markup.step(number, title))
        text = "One photo is enough; several of the same person are better."
        super().__init__(shell, label="Photos of one person", text=text, most=MAX_PHOTOS, height=200)

    def build_more(self) -> None:
        """The folded part, placed by the tab where it is out of the way: identity files and several photos."""
        with gr.Accordion("Saved identity, several photos", open=False):
            gr.HTML(markup.hint("A saved identity (.npz or .npy) replaces the photos."))
            self.identity_file = gr.File(
                label="Saved identity", show_label=False, file_types=[".npz", ".npy"], height=72, elem_classes=["drop"]
            )
            self.method = gr.Radio(
                [("Average", "mean"), ("Median, less swayed by one odd photo", "median")],
                value="mean",
                label="Combine several photos by",
            )
            self.drop_outliers = gr.Checkbox(False, label="Leave out photos that look like someone else")
            save = gr.Button("Save this identity to a file", size="sm")
            saved = gr.File(label="Saved identity (numbers only, no picture)", visible=False, interactive=False)
        save.click(self._save, self.inputs, saved, **LIGHT)

    @property
    def inputs(self) -> list[Any]:
        """Photos and picks; with `build_more` also identity file, method and leave-out switch."""
        more = [self.identity_file, self.method, self.drop_outliers] if hasattr(self, "identity_file") else []
        return [*super().inputs, *more]

    def verdicts(self, photos: Photos | None, identity_file: str | None) -> list[dict[str, Any]]:
        """One verdict per entry of `inputs`, for a Gradio validator."""
        first = self.verdict(photos, missing="" if identity_file else NOBODY)
        return [first, *(gr.validate(True, "") for _ in range(self.FIELDS - 1))]

    def compare(self, engine: Engine, photos: Photos, picks: Mapping[str, int]) -> Iterator[Line]:
        """How well several photos agree on one person."""
        try:
            report = resolve_identity(engine, photos, picks, None).report
        except NoFaceError as error:
            yield str(error), True
            return
        if report is None:
            return
        cosines = ", ".join(f"{cosine:.2f}" for cosine in report.cosines)
        yield f"{len(photos)} photos, a face in each. Agreement with the group: {cosines}.", False
        for warning in report.warnings:
            yield warning, True

    def identity(self, *values: Any) -> Identified:
        """The embedding for the values of `inputs`; warnings are shown to the visitor."""
        found = resolve_identity(self._shell.backend.engine(), *values)
        for warning in found.warnings:
            gr.Warning(warning)
        return found

    @shows_errors
    def _save(self, request: gr.Request, *values: Any) -> Any:
        from arc2face.faces.identities import save_identity

        found = self.identity(*values)
        target = self._shell.files.new_run(session_of(request)) / "identity.npz"
        save_identity(target, found.identity)
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
        from arc2face.faces.identities import load_identity

        identity, warnings = load_identity(Path(identity_file), engine.faces.recogniser_sha256)
        return Identified(identity, None, tuple(warnings))
    if not photos:
        raise InputError(NOBODY)
    pictures = [load_rgb_u8(path) for path, _ in photos]
    chosen = [(picks or {}).get(path, 0) for path, _ in photos]
    report = engine.identify(pictures, picks=chosen, method=method, drop_outliers=drop_outliers)
    return Identified(report.identity, report, report.warnings)
