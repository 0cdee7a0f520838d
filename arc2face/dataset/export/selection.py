"""Which pictures of a data set go out, and under which label. 20 bytes a picture are held, whatever the set's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.dataset import manifest
from arc2face.dataset.export.balance import balanced
from arc2face.dataset.export.options import Options
from arc2face.errors import InputError, SettingsError
from arc2face.settings import one_of

__all__ = ["Selection", "select"]

COLUMNS = ("key", "identity", "identity_number", "picture", "similarity", "second_similarity", "file", "error", "plan")
POSED = ("yaw", "pitch", "expression_name")
NO_PICTURE = "without a picture (the manifest says why)"


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The pictures that go out, in the order in which they go.

    `shard`, `place` (row of the shard's manifest), `number` (identity number), `picture`, `label`: (n,) integers.
    Labels count from 0 without holes, in the order of identity numbers. `names`: identity number -> key.
    `left_out`: reason -> number of pictures.
    """

    plan: str
    shard: NDArray[np.int32]
    place: NDArray[np.int32]
    number: NDArray[np.int32]
    picture: NDArray[np.int32]
    label: NDArray[np.int32]
    names: dict[int, str]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def numbers(self) -> list[int]:
        """Identity numbers by label."""
        return [int(number) for number in np.unique(self.number)]

    def key(self, at: int) -> str:
        """Key of the picture at a place of the order."""
        return f"{self.number[at]:07d}_{self.picture[at]:04d}"


def select(shards: Sequence[tuple[int, Path]], options: Options, plan: str) -> Selection:
    """Read the manifests (shard number and file each) and choose. `plan`: the hash that all of them must name.

    Raises:
        InputError: a manifest is of another plan, or damaged.
        SettingsError: nothing is left, or a name in `exclude` or `people` is in no manifest.
    """
    columns = (*COLUMNS, *POSED) if options.per_person is not None else COLUMNS
    parts: list[dict[str, NDArray[Any]]] = []
    names: dict[int, str] = {}
    left_out: Counter[str] = Counter()
    known: set[str] = set()
    for shard, path in shards:
        table = manifest.read_table(path, columns)
        if set(table["plan"].unique().to_pylist()) - {plan}:
            raise InputError(
                f"{path} was drawn for another plan than plan.json. Run `arc2face dataset verify` on the set."
            )
        parts.append(_kept(shard, table, options, names, left_out, known))
    _check_known(options, known)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    if not joined or not len(joined["shard"]):
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "no picture is drawn yet"
        raise SettingsError(f"Nothing is left to export: {reasons}.")
    order = np.lexsort((joined["picture"], joined["number"]))
    if options.shuffle:
        order = np.random.default_rng(options.seed).permutation(order)
    found = {name: values[order] for name, values in joined.items()}
    numbers, label = np.unique(found["number"], return_inverse=True)
    return Selection(
        plan=plan,
        label=label.astype(np.int32),
        names={int(number): names[int(number)] for number in numbers},
        left_out=dict(left_out),
        **found,
    )


def _kept(
    shard: int, table: Any, options: Options, names: dict[int, str], left_out: Counter[str], known: set[str]
) -> dict[str, NDArray[Any]]:
    keys, identities = table["key"].to_pylist(), table["identity"].to_pylist()
    numbers = table["identity_number"].to_numpy()
    names.update(zip(numbers.tolist(), identities, strict=True))
    drawn = table["file"].is_valid().to_numpy() & table["error"].is_null().to_numpy()
    left = np.ones(len(keys), bool)

    def leave(reason: str, which: NDArray[np.bool_]) -> None:
        gone = left & which
        if gone.any():
            left_out[reason] += int(gone.sum())
            left[gone] = False

    if options.people is not None or options.exclude:
        known.update(identities)
        known.update(options.exclude.intersection(keys))
    if options.people is not None:
        wanted = set(options.people)
        leave("of other people", np.array([identity not in wanted for identity in identities], bool))
    leave(NO_PICTURE, ~drawn)
    if options.exclude:
        out = options.exclude
        leave("excluded", np.array([k in out or i in out for k, i in zip(keys, identities, strict=True)], bool))
    for column, least in (
        ("similarity", options.min_similarity),
        ("second_similarity", options.min_second_similarity),
    ):
        if least is not None:
            score = table[column].to_numpy(zero_copy_only=False)
            leave(f"with a {column.replace('_', ' ')} below {least:g}, or none", ~(score >= least))
    if options.align != "none":
        without = table["similarity"].is_null().to_numpy()
        if (drawn & ~without).any():  # else the set was drawn without face networks, which says nothing
            leave("without a face to align", without)
    place = np.flatnonzero(left).astype(np.int32)
    if options.per_person is not None:
        chosen = balanced(table, place, options.per_person)
        left_out["beyond the number per person"] += len(place) - len(chosen)
        place = chosen
    return {
        "shard": np.full(len(place), shard, np.int32),
        "place": place,
        "number": numbers[place].astype(np.int32),
        "picture": table["picture"].to_numpy()[place].astype(np.int32),
    }


def _check_known(options: Options, known: set[str]) -> None:
    for what, given in (("exclude", options.exclude), ("people", options.people or ())):
        missing = sorted(set(given) - known)
        if missing:
            shown = one_of([repr(name) for name in missing[:3]]) + (", ..." if len(missing) > 3 else "")
            raise SettingsError(f"{what} names {len(missing)} keys that this data set does not have: {shown}.")
