"""Which pose and which expression each picture gets: lists and ranges, laid out as a grid, balanced or at random.

Everything follows from the plan's seed, the person's key and the picture's number (`arc2face.dataset.seeds`), so a
person's pictures do not change when others join or leave the plan.

grid: the pictures of each person walk through all poses, then through all expressions, in the order given.
balanced: each person meets every combination equally often, in an order of their own; ranges are cut into as many
    parts as the person has pictures, and each part is drawn from once.
random: every picture draws for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from arc2face import checks
from arc2face.dataset import seeds
from arc2face.errors import SettingsError
from arc2face.settings import PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT
from arc2face.types import EXPRESSION_SIZE

__all__ = ["AXES", "KINDS", "CatalogueEntry", "Pose", "Schedule", "Wish", "wishes"]

Kind = Literal["grid", "balanced", "random"]
KINDS: tuple[Kind, ...] = ("grid", "balanced", "random")
AXES = {"yaw": YAW_LIMIT, "pitch": PITCH_LIMIT, "roll": ROLL_LIMIT}
"""Angle -> largest magnitude in degrees."""
MAX_POSES = 4096
MAX_EXPRESSIONS = 1024
MAX_CELLS = 65_536
MAX_NAME = 100
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """`yaw`, `pitch`, `roll`: degrees; None is drawn from the schedule's range, or 0 where it has none."""

    name: str
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None

    def __post_init__(self) -> None:
        _name("A pose", self.name)
        for axis, limit in AXES.items():
            value = getattr(self, axis)
            if value is not None:
                _set(self, axis, checks.number(f"The {axis} of {self.name} in degrees", value, (-limit, limit)))


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A named expression. `values`: the 55 numbers. `ranges`: (place 0 to 54, low, high), each drawn per picture."""

    name: str
    values: tuple[float, ...]
    ranges: tuple[tuple[int, float, float], ...] = ()

    def __post_init__(self) -> None:
        _name("An expression", self.name)
        values = tuple(checks.number(f"A number of {self.name}", value, (-100.0, 100.0)) for value in self.values)
        if len(values) != EXPRESSION_SIZE:
            raise SettingsError(f"The expression {self.name} has {len(values)} numbers; {EXPRESSION_SIZE} are needed.")
        _set(self, "values", values)
        _set(self, "ranges", tuple(_entry_range(self.name, each) for each in self.ranges))


@dataclass(frozen=True, slots=True)
class Schedule:
    """`poses`: a list; empty for one pose drawn from the ranges, or for no pose at all. `yaw`, `pitch`, `roll`: ranges

    in degrees. `expressions`: the catalogue; empty leaves the expression to the model.
    """

    kind: Kind = "balanced"
    poses: tuple[Pose, ...] = ()
    yaw: Range | None = None
    pitch: Range | None = None
    roll: Range | None = None
    expressions: tuple[CatalogueEntry, ...] = ()

    def __post_init__(self) -> None:
        checks.choice("The schedule", self.kind, KINDS)
        _set(self, "poses", tuple(self.poses))
        _set(self, "expressions", tuple(self.expressions))
        for axis, limit in AXES.items():
            _set(self, axis, _range(axis, getattr(self, axis), limit))
        for what, items, most in (("poses", self.poses, MAX_POSES), ("expressions", self.expressions, MAX_EXPRESSIONS)):
            names = [item.name for item in items]
            if len(names) > most:
                raise SettingsError(f"A schedule has at most {most} {what}, not {len(names)}.")
            if twice := {name for name in names if names.count(name) > 1}:
                raise SettingsError(f"Two of the {what} are called {checks.shown(min(twice))}; give each its own name.")

        cells = max(1, len(self.poses)) * max(1, len(self.expressions))
        if self.kind == "balanced" and cells > MAX_CELLS:
            raise SettingsError(f"{cells} combinations are too many to balance (at most {MAX_CELLS}); use random.")

    @property
    def posed(self) -> bool:
        """Whether pictures get a pose."""
        return bool(self.poses) or any(getattr(self, axis) is not None for axis in AXES)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it."""
        return {
            "kind": self.kind,
            "poses": [{"name": pose.name, **{axis: getattr(pose, axis) for axis in AXES}} for pose in self.poses],
            **{axis: getattr(self, axis) and list(getattr(self, axis)) for axis in AXES},
            "expressions": [
                {"name": each.name, "values": list(each.values), "ranges": [list(one) for one in each.ranges]}
                for each in self.expressions
            ],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Schedule:
        """Raises SettingsError, KeyError or TypeError for another structure."""
        fields = dict(cast("dict[str, Any]", data))
        poses = tuple(Pose(**pose) for pose in fields.pop("poses"))
        expressions = tuple(
            CatalogueEntry(each["name"], tuple(each["values"]), tuple(tuple(one) for one in each["ranges"]))
            for each in fields.pop("expressions")
        )
        ranges = {axis: tuple(fields.pop(axis)) if fields.get(axis) is not None else fields.pop(axis) for axis in AXES}
        return cls(poses=poses, expressions=expressions, **ranges, **fields)


@dataclass(frozen=True, slots=True)
class Wish:
    """What one picture shall show. `angles`: yaw, pitch, roll in degrees, None for no pose. `pose_name`: None for one

    that was drawn from ranges alone. `expression`: 55 numbers, None to leave it to the model.
    """

    pose_name: str | None = None
    angles: tuple[float, float, float] | None = None
    expression_name: str | None = None
    expression: tuple[float, ...] | None = None


def wishes(schedule: Schedule, plan_seed: int, identity: str, pictures: int) -> list[Wish]:
    """One wish per picture of a person."""
    draw = _Draw(schedule.kind, plan_seed, identity, pictures)
    poses = max(1, len(schedule.poses)) if schedule.posed else 1
    cells = draw.cells(poses, max(1, len(schedule.expressions)))
    return [
        Wish(
            *_pose(schedule, draw, picture, cells[picture][0]), *_expression(schedule, draw, picture, cells[picture][1])
        )
        for picture in range(pictures)
    ]


class _Draw:
    """The choices of one person."""

    def __init__(self, kind: Kind, plan_seed: int, identity: str, pictures: int) -> None:
        self.kind, self.seed, self.identity, self.pictures = kind, plan_seed, identity, pictures
        self._parts: dict[str, list[int]] = {}

    def cells(self, poses: int, expressions: int) -> list[tuple[int, int]]:
        """Pose and expression of every picture, as places in the lists."""
        total = poses * expressions
        if self.kind == "random":
            return [(self._place(k, "pose", poses), self._place(k, "expression", expressions)) for k in self._numbers]
        if self.kind == "grid":
            return [(k % poses, k // poses % expressions) for k in self._numbers]
        found: list[int] = []
        while len(found) < self.pictures:
            found += seeds.order(self.seed, self.identity, "cell", total, len(found) // total)
        return [(cell % poses, cell // poses) for cell in found[: self.pictures]]

    def within(self, picture: int, what: str, limits: Range) -> float:
        """A number of a range for one picture."""
        low, high = limits
        share = seeds.share(self.seed, self.identity, picture, what)
        if self.kind == "balanced":
            if what not in self._parts:
                self._parts[what] = seeds.order(self.seed, self.identity, f"part of {what}", self.pictures)
            share = (self._parts[what][picture] + share) / self.pictures
        return low + share * (high - low)

    @property
    def _numbers(self) -> range:
        return range(self.pictures)

    def _place(self, picture: int, what: str, count: int) -> int:
        return min(count - 1, int(seeds.share(self.seed, self.identity, picture, what) * count))


def _pose(
    schedule: Schedule, draw: _Draw, picture: int, place: int
) -> tuple[str | None, tuple[float, float, float] | None]:
    if not schedule.posed:
        return None, None
    pose = schedule.poses[place] if schedule.poses else None
    yaw, pitch, roll = (_angle(schedule, draw, picture, axis, pose and getattr(pose, axis)) for axis in AXES)
    return pose.name if pose else None, (yaw, pitch, roll)


def _angle(schedule: Schedule, draw: _Draw, picture: int, axis: str, given: float | None) -> float:
    limits: Range | None = getattr(schedule, axis)
    if given is not None or limits is None:
        return given or 0.0
    return round(draw.within(picture, axis, limits), 4)


def _expression(
    schedule: Schedule, draw: _Draw, picture: int, place: int
) -> tuple[str | None, tuple[float, ...] | None]:
    if not schedule.expressions:
        return None, None
    entry = schedule.expressions[place]
    values = list(entry.values)
    for index, low, high in entry.ranges:
        values[index] = round(draw.within(picture, f"expression {index}", (low, high)), 6)
    return entry.name, tuple(values)


def _range(axis: str, limits: Any, most: float) -> Range | None:
    if limits is None:
        return None
    if not isinstance(limits, Sequence) or isinstance(limits, str) or len(cast("Sequence[Any]", limits)) != 2:
        raise SettingsError(f"The range of {axis} is two numbers in degrees, not {checks.shown(limits)}.")
    low, high = (checks.number(f"The {axis} in degrees", value, (-most, most)) for value in cast("Any", limits))
    if low > high:
        raise SettingsError(f"The range of {axis} goes from the smaller to the larger angle, not {low:g} to {high:g}.")
    return low, high


def _entry_range(name: str, given: Any) -> tuple[int, float, float]:
    index, low, high = given
    place = checks.whole(f"A place in {name}", index, (0, EXPRESSION_SIZE - 1))
    low, high = (checks.number(f"A number of {name}", value, (-100.0, 100.0)) for value in (low, high))
    if low > high:
        raise SettingsError(f"A range in {name} goes from the smaller to the larger number, not {low:g} to {high:g}.")
    return place, low, high


def _name(what: str, name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise SettingsError(f"{what} needs a name of 1 to {MAX_NAME} printable characters, not {checks.shown(name)}.")


def _set(value: object, name: str, found: object) -> None:
    object.__setattr__(value, name, found)
