"""The page without a browser: what is computed once, recipes from anywhere, extras that fail, a tab of one's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from arc2face.errors import Arc2FaceError, InputError, SettingsError, StorageError
from arc2face.sources import Person
from arc2face.types import Expression, GeneratedImage, GenerationRequest, GenerationResult, IdentityEmbedding
from arc2face_app.page.messages import as_shown
from arc2face_app.page.parts import workbench
from arc2face_app.page.parts.expression import ExpressionControls
from arc2face_app.page.parts.follow import Follow, PageShell
from arc2face_app.page.parts.keyed import Values, validator
from arc2face_app.page.parts.look import LookControls
from arc2face_app.page.parts.person import PersonPicker
from arc2face_app.page.parts.pose import PoseControls
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import Made, ResultsPanel
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.tabs import TABS
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.files import SessionFiles
from arc2face_app.runs.pictures import Picture, Run, best_of
from arc2face_app.runs.store import RunStore
from arc2face_app.runs.visits import Visits
from arc2face_app.ui import build_app
from scripts.checkout import python_path
from tests.conftest import PROJECT

GOOD: dict[str, Any] = {"steps": 4, "seed": 7, "guidance_scale": 2.0, "fast": False, "scheduler": "dpm++"}


class Form:
    """The parts of a tab, built as the page builds them, without a server."""

    def __init__(self, root: Path) -> None:
        backend = Backend(lambda: pytest.fail("nothing here opens the models"))
        with gr.Blocks():
            self.shell = PageShell(backend=backend, history=gr.State(()), files=SessionFiles(root))
            self.person = self.shell.person = PersonPicker(self.shell)
            self.controls = GenerationControls()
            self.editor = ExpressionControls(self.shell)
            self.look = LookControls()
            self.pose = PoseControls(self.shell, optional=True)
            self.editor.build_more()
            self.pose.build_advanced()
            self.controls.build_advanced()
            self.person.build_more()
            self.drop = RecipeDrop(self.controls, self.editor, self.look, self.pose)
            self.panel = ResultsPanel(invitation="")

    def values(self, **changes: Any) -> dict[Any, Any]:
        """The values of the settings as they stand at first, some of them changed."""
        named = self.controls.inputs
        start = {component: component.value for component in named}
        return {**start, **{getattr(self.controls, name): value for name, value in changes.items()}}


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Form:
    return Form(tmp_path_factory.mktemp("results"))


def picture_with(path: Path, recipe: Any) -> Path:
    info = PngInfo()
    info.add_text("arc2face", recipe if isinstance(recipe, str) else json.dumps(recipe))
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    return path


def test_settings_are_whole_and_of_the_mode(form: Form) -> None:
    found = form.controls.fields(form.values(new_seed=False, seed=12.0, keep_best=8, num_images=4.0))
    assert (found["seed"], found["num_images"], found["keep_best"]) == (12, 4, 4)
    assert isinstance(found["num_images"], int)
    overtaken = form.controls.fields(form.values(fast=True))
    assert (overtaken["steps"], overtaken["guidance_scale"]) == (4, 1.0)
    assert 0 <= form.controls.fields(form.values())["seed"] < 1_000_000


@pytest.mark.parametrize("seed", ["abc", -1, None, 2**33, 1.5])
def test_a_seed_that_is_none_is_refused(form: Form, seed: Any) -> None:
    """C8, F19: "abc" is no 0."""
    with pytest.raises(SettingsError, match="The seed must be a whole number"):
        form.controls.fields(form.values(new_seed=False, seed=seed))


def test_a_rule_stands_at_its_component() -> None:
    with gr.Blocks():
        one, two = gr.Number(1), gr.Number(2)

    def rule(values: Values) -> None:
        if values[one] > values[two]:
            raise InputError("too much")

    judge = validator({one, two}, {two: rule})
    assert all(verdict["is_valid"] for verdict in judge({one: 1, two: 2}).values())
    verdicts = judge({one: 3, two: 2})
    assert verdicts[one]["is_valid"]
    refused = {"__type__": "validate", "is_valid": False, "message": "too much"}
    assert verdicts[two] == {**refused, "field": two.elem_id} and two.elem_id


@pytest.mark.parametrize("suffix", [".tiff", ".jp2"])
def test_a_photo_that_browsers_cannot_show_is_shown(form: Form, tmp_path: Path, suffix: str) -> None:
    """C4: the thumbnail was broken."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", **({"irreversible": False} if suffix == ".jp2" else {}))
    damaged = tmp_path / f"b{suffix}"
    damaged.write_bytes(b"nothing")
    given = [(str(tmp_path / f"a{suffix}"), None), (str(damaged), None)]
    picker, nobody = form.person, None
    values = {picker.photos: given, picker.picks: {}}
    updates = next(picker._inspect(values, nobody))  # type: ignore[arg-type]
    (first, _), second = updates[picker.photos]
    assert first.endswith("a.png")
    assert np.array_equal(np.asarray(Image.open(first)), pixels)
    assert second == given[1]


def test_too_many_photos_are_refused_before_any_is_decoded(form: Form, tmp_path: Path) -> None:
    paths = [(str(tmp_path / f"{k}.png"), None) for k in range(13)]
    values = {form.person.photos: paths, form.person.picks: {}, form.person.identity_file: None}
    nobody: Any = None
    with pytest.raises(SettingsError, match="At most 12 photos, not 13"):
        form.person._found(nobody, values, "anna")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(SettingsError, match="At most 12 photos"):
        form.person.person_rules[form.person.photos](values)


@pytest.mark.parametrize(
    "recipe",
    [
        {"settings": {**GOOD, "steps": [4]}},
        {"settings": {**GOOD, "steps": 1e9}},
        {"settings": {**GOOD, "steps": "4"}},
        {"settings": {**GOOD, "guidance_scale": {"a": 1}}},
        {"settings": {**GOOD, "guidance_scale": float("nan")}},
        {"settings": {**GOOD, "scheduler": "<script>"}},
        {"settings": {**GOOD, "fast": "yes"}},
        {"settings": {**GOOD, "num_images": -3}},
        {"settings": GOOD, "expression": "smile"},
        {"settings": GOOD, "expression": {"values": "abc"}},
        {"settings": GOOD, "expression": {"values": [1e9] * 55}},
        {"settings": GOOD, "expression": {"values": [0.0] * 55, "strength": "much"}},
        {"settings": GOOD, "expression": {"strength": 1.0}},
        {"settings": GOOD, "pose": ["left"]},
        {"settings": GOOD, "pose": {"strength": None}},
        {"settings": GOOD, "pose": {"angles": ["a", 0, 0]}},
        {"settings": GOOD, "reference": 3},
        {"settings": GOOD, "reference": {"strength": 7}},
        {"settings": GOOD, "page": "no"},
        {"settings": GOOD, "page": {"keep_best": 99}},
        {"settings": GOOD, "reference": {"strength": 0.5}, "page": {"paste": "<b>"}},
        {"settings": "none"},
        [],
        "[" * 100_000,
        "{",
    ],
)
def test_hostile_recipes_are_refused_with_a_sentence(form: Form, tmp_path: Path, recipe: Any) -> None:
    """K2: nothing of them reaches a widget, and nothing is restored by half."""
    with pytest.raises(Arc2FaceError) as caught:
        form.drop.updates(picture_with(tmp_path / "hostile.png", recipe))
    assert str(caught.value)


def test_a_picture_bomb_is_refused_unread(form: Form, tmp_path: Path) -> None:
    """K2: 20,000 x 20,000 pixels in a small file; nothing of them is decoded."""
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    with pytest.raises(SettingsError, match="no recipe"):
        form.drop.updates(bomb)


def test_look_mask_pose_and_strengths_come_back(form: Form, tmp_path: Path) -> None:
    """F6, C9: a strength of 1.8 is no error, and no setting of the page is lost."""
    recipe = {
        "settings": {**GOOD, "num_images": 1, "seed": 9},
        "expression": {"values": [0.25] * 50 + [0.5, 0.75, 0.3, 0.1, -0.1], "strength": 1.8},
        "reference": {"strength": 0.6},
        "pose": {"strength": 1.9, "start": 0.1, "end": 0.8},
        "page": {"num_images": 4, "seed": 7, "keep_best": 2, "paste": "head", "pose_from": "Sliders",
                 "yaw": 40, "pitch": -12, "roll": 3},
    }  # fmt: skip
    updates = form.drop.updates(picture_with(tmp_path / "all.png", recipe))
    controls, pose, look, editor = form.controls, form.pose, form.look, form.editor
    wanted = {
        controls.num_images: 4, controls.seed: 7, controls.keep_best: 2, controls.new_seed: False,
        pose.mode: "Sliders", pose.angles.yaw: 40, pose.angles.pitch: -12, pose.angles.roll: 3,
        pose.strength: 1.9, pose.start: 0.1, pose.end: 0.8,
        look.mode: "Keep the photo's look", look.look: 0.6, look.paste: True, look.mask: "head",
        editor.strength: 1.8, editor.right: 0.75,
    }  # fmt: skip
    assert {component: updates[component] for component in wanted} == wanted
    assert updates[editor.mode] == "Sliders"
    assert editor.strength.maximum >= 1.8
    assert updates[editor.edit].base == updates[editor.edit].now


def test_a_named_expression_stays_one_in_links_and_recipes(form: Form, tmp_path: Path) -> None:
    """A link opened as sliders; a name with other numbers than its own is not believed."""
    from arc2face_app.page import links

    editor = form.editor
    start: dict[Any, Any] = {component: component.value for component in {*editor._sources, editor.strength}}
    chosen: dict[Any, Any] = {**start, editor.preset: "Yawn", editor.amount: 0.5}
    chosen[editor.edit] = editor._sourced(chosen, "anna")
    said = editor.described(chosen)
    query = links.query("expression", said)
    assert "expression_name=Yawn" in query and "expression=" not in query
    opened: dict[Any, Any] = form.drop.linked(dict(parse_qsl(query)))
    assert (opened[editor.mode], opened[editor.preset]["value"], opened[editor.amount]) == ("A name", "Yawn", 0.5)
    assert opened[editor.edit].now == chosen[editor.edit].now
    other = {"settings": GOOD, "expression": {"values": [0.2] * 55}, "page": {"expression_name": "Yawn"}}
    assert form.drop.updates(picture_with(tmp_path / "other.png", other))[editor.mode] == "Sliders"
    with pytest.raises(SettingsError, match="no preset"):
        form.drop.linked({"expression_name": "Nobody's"})


def test_a_page_that_is_loaded_anew_takes_over_once_the_old_one_has_gone(tmp_path: Path) -> None:
    """Files and runs follow the browser tab; a tab that is still open keeps its own; a wrong secret brings nothing."""
    files, runs, visits = SessionFiles(tmp_path), RunStore(), Visits()
    made = files.new_run("old") / "a.png"
    made.write_bytes(b"x")
    runs.put("old", Run.now("Pose", [Picture(str(made), 1, None, None)]))
    secret, gone = visits.enter("", "old"), False

    def succeed(before: str, now: str) -> bool:
        if gone:
            files.hand_over(before, now)
            runs.hand_over(before, now)
        return gone

    visits.succeed = succeed
    assert visits.enter(secret, "new", patience=0) != secret and visits.enter("guess", "new") != "guess"
    assert runs.runs("new") == ()
    before = runs.stamp("old")
    gone = True
    assert visits.enter(secret, "new") == secret  # the same over all reloads, so that two in a row lose nothing
    files.forget("old")
    visits.forget("old")
    assert made.is_file() and [run.tab for run in runs.runs("new")] == ["Pose"]
    assert runs.stamp("new") > before  # an answer from before the reload is the older one
    gone = False
    assert visits.enter(secret, "third", patience=0) != secret and runs.runs("third") == ()
    visits.forget("new")
    assert visits.enter(secret, "fourth") != secret
    files.forget("new")
    assert not made.exists()


def test_two_pages_that_wait_for_one_visit_take_it_one_after_the_other() -> None:
    """Loaded anew twice in a row: the page in between takes over, and the last one takes over from that."""
    visits, taken, open_ = Visits(), list[tuple[str, str]](), {"first", "second"}

    def succeed(before: str, now: str) -> bool:
        if before not in open_:
            taken.append((before, now))
        return before not in open_

    visits.succeed = succeed
    secret = visits.enter("", "first")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(visits.enter, secret, one, 20.0) for one in ("second", "third")]
        open_.discard("first")
        open_.discard("second")
        assert [one.result() for one in waiting] == [secret, secret]
    assert taken[0][0] == "first" and taken[1][0] == taken[0][1]


def test_the_page_hears_of_every_change_it_listens_to() -> None:
    """A state that others listen to changes in queued events alone; of two choices in a row the last one counts.

    Gradio tells the browser of a changed state only from its queue. An event outside it leaves the preview, the history
    and the results as they were.
    """
    page = build_app(Backend(lambda: pytest.fail("nothing here opens the models")), datasets=True)
    listened = {number for event in page.fns.values() for number, name in event.targets if name == "change"}
    changing = [event for event in page.fns.values() if listened & {one._id for one in event.outputs if one.stateful}]
    assert len(changing) > 10
    assert [event.name for event in changing if not event.queue] == []
    chosen = [one for one in page.fns.values() if any(name in ("input", "select") for _, name in one.targets)]
    assert len(chosen) > 10
    assert [event.name for event in chosen if event.trigger_mode == "once"] == []


def test_a_score_of_zero_is_a_score() -> None:
    """C9: 0.0 beats both -0.1 and no score at all."""
    pictures = [Picture("a", 1, None, False), Picture("b", 2, 0.0, True), Picture("c", 3, -0.1, True)]
    assert best_of(pictures).path == "b"


def test_pictures_come_first_and_a_failing_extra_is_a_warning(
    form: Form, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A2: a contact sheet that cannot be written takes nothing away."""
    request = GenerationRequest(identity=IdentityEmbedding(np.ones(512, np.float32)), num_images=1, steps=2)
    image = GeneratedImage(np.zeros((16, 16, 3), np.uint8), 0, 0.5, True)
    result = GenerationResult((image,), request, {"settings": {}, "identity": {}})
    tab = _bench(form)
    asked = workbench.Asked(
        engine=None,  # pyright: ignore[reportArgumentType] - nothing here asks for it
        session="anna",
        values={form.person.identity_file: "x.npz", form.person.photos: None},
        person=Person(request.identity),
        base=request,
    )

    def broken(results: Any, pictures: Sequence[Picture]) -> Any:
        raise StorageError("The disk is full <b>now</b>.")

    work = workbench.Work(requests=[request], extras=[broken])
    with pytest.warns(UserWarning, match="The disk is full &lt;b&gt;now"):
        steps = list(tab._shown(asked, work, (result,)))  # pyright: ignore[reportPrivateUsage]
    assert len(steps) == 1
    made: Made = steps[0][form.panel.made]
    ((run, picture),) = form.shell.runs.shown("anna")
    assert (made.run, steps[0][form.shell.history]) == (run.id, 1)
    assert Path(picture.path).is_file()
    assert [one["id"] for one in steps[0][form.panel.board]["entries"]] == [picture.id]


def test_a_picture_becomes_the_person_of_another_tab(form: Form, tmp_path: Path) -> None:
    """U2: a copy of it, in place of a saved identity; a picture that is gone is said."""
    with gr.Blocks(), gr.Tabs() as tabs:
        follow = Follow(form.shell, form.person, tabs)
    made = tmp_path / "pose-1-seed-7.png"
    Image.new("RGB", (8, 8), "red").save(made)
    updates = follow.use(str(made), "anna", "expression")
    assert set(updates) <= follow.outputs
    (copy,) = updates[form.person.photos]
    assert Path(copy) != made
    made.unlink()
    assert Image.open(copy).getpixel((0, 0)) == (255, 0, 0)
    assert (updates[form.person.identity_file], updates[tabs]["selected"]) == (None, "expression")
    assert tabs not in follow.use(copy, "anna")
    with pytest.raises(InputError, match="not there any more"):
        follow.use(str(made), "anna")


def test_fast_mode_comes_on_only_where_nothing_was_chosen(form: Form) -> None:
    """U1: a visitor who was quicker, or a link, keeps what they chose."""
    update = form.controls.sparing(form.values(), "Why.")[form.controls.fast]
    assert (update["value"], update["info"]) == (True, "Why.")
    assert form.controls.sparing(form.values(steps=30), "Why.") == {}
    assert form.controls.sparing(form.values(fast=True), "Why.") == {}


def test_what_is_chosen_counts_even_where_a_click_overtakes_it(form: Form, tmp_path: Path) -> None:
    """U6: pictures never carry the expression that was chosen before."""
    editor = form.editor
    start = {component: component.value for component in editor._sources}
    opened = {**start, editor.preset: "Mouth wide open", editor.amount: 0.5}
    assert editor.expression(opened, "anna").values[52] == pytest.approx(0.275)
    by_hand = {**opened, editor.mode: "Sliders"}
    assert editor.expression(by_hand, "anna").values[52] == 0
    edit = editor._sourced(opened, "anna")
    assert editor._sourced({**opened, editor.edit: edit, editor.amount: 1.0}, "anna") is edit
    assert edit.to(edit_now(edit), "file").source == ""
    with pytest.raises(InputError, match="Add a photo that shows the expression"):
        editor.rules[editor.photo.photos]({**start, editor.mode: "A photo"})


def edit_now(edit: Any) -> Any:
    return Expression(np.asarray(edit.now, np.float32))


def _bench(form: Form) -> workbench.Workbench:
    buttons: Any = type("Buttons", (), {"free": staticmethod(dict)})()
    return workbench.Workbench(
        shell=form.shell, title="Toy", controls=form.controls, panel=form.panel, buttons=buttons, drop=form.drop,
    )  # fmt: skip


def test_messages_are_text() -> None:
    """Names and errors from outside are never markup."""
    assert as_shown("<img src=x> & 'you'").message == "&lt;img src=x&gt; &amp; 'you'"


TOY = '''"""Toy: a word, and the same word again."""
import gradio as gr

TITLE = "Toy"


def build(engine, shell):
    """Lay out the tab."""
    word = gr.Textbox(label="Toy word")
    echo = gr.Textbox(label="Toy echo")
    word.submit(lambda text: text * 2, word, echo, api_name="toy")
'''
SERVE = """
import sys
from pathlib import Path
from arc2face_app import server
from arc2face_app.page import tabs
from arc2face_app.runs.backend import Backend
from arc2face_app.settings import ServerSettings
from arc2face.engine import Engine
models = Path(sys.argv[1])
settings = ServerSettings(port=int(sys.argv[2]), models=models, mcp=False)
page = server.launch(settings, Backend.of(Engine.open(models, device="cpu")))
print("up", flush=True)
sys.stdin.read()
page.close()
"""


@pytest.mark.server
def test_a_tab_is_one_file_and_one_line(models: Path, tmp_path: Path) -> None:
    """A toy tab in a copy of the app: its file, its line in TABS, and it answers in the running page."""
    from tests.app.conftest import free_port

    shutil.copytree(PROJECT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "app" / "arc2face_app" / "page" / "tabs"
    (folder / "toy.py").write_text(TOY)
    table = folder / "__init__.py"
    text = table.read_text()
    text = re.sub(r"^(from arc2face_app.page.tabs import .+)$", r"\1, toy", text, flags=re.MULTILINE)
    table.write_text(re.sub(r"= \((.+)\)$", r"= (\1, toy)", text, flags=re.MULTILINE))
    port = free_port()
    paths = python_path(tmp_path / "app")
    served = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(models), str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    try:
        assert served.stdout is not None
        assert served.stdout.readline() == "up\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/config") as answer:
            config = json.load(answer)
        tabs = [one["props"]["label"] for one in config["components"] if one["type"] == "tabitem"]
        assert tabs == [*(tab.TITLE for tab in TABS), "Toy", "Studio", "History", "Models"]
        from gradio_client import Client

        assert Client(f"http://127.0.0.1:{port}", verbose=False).predict("ab", api_name="/toy") == "abab"
    finally:
        served.communicate("")
