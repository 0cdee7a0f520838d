"""What reading people gives: those who were found, those who were not and why, and what to tell about the others."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from arc2face import checks
from arc2face.dataset.identities import MAX_IDENTITIES, MAX_KEY, Identities
from arc2face.errors import InputError
from arc2face.types import Float32Array, IdentityEmbedding

__all__ = ["SAMPLED", "Found", "People", "Unread", "check_names", "collect"]

SAMPLED = "sampled"
"""How `Identities.sources` begins for people who do not exist; all others were given."""
SAME_PERSON = 0.75
"""Cosine from which two people are taken to be one under two names. Photos of one person reach 0.5 to 0.8, averages of
several more; different people hardly exceed 0.4."""
SHOWN = 10
MOST_COMPARED = 50_000
"""Most people who are compared with one another: the time grows with the square."""
_BLOCK = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One person: name, embedding, what it was made of, and what to tell about it."""

    key: str
    identity: IdentityEmbedding
    source: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A person who was given and could not be read: who (as a key would be), and `reason`, one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Everybody who was given: `identities` of those who were read, `unread` of the others, in their order."""

    identities: Identities
    unread: tuple[Unread, ...] = ()
    warnings: tuple[str, ...] = ()


def collect(people: Iterable[Found | Unread], skip_unreadable: bool) -> People:
    """Put people together, with a look at who seems to be there twice.

    Raises:
        InputError: nobody; somebody was not read and `skip_unreadable` is False (the message names up to ten); a name
            is there twice, also in other capitals; too many people.
    """
    found: list[Found] = []
    unread: list[Unread] = []
    for person in people:
        if isinstance(person, Found):
            found.append(person)
        else:
            unread.append(person)
        if len(found) + len(unread) > MAX_IDENTITIES:
            raise InputError(f"There are more than {MAX_IDENTITIES:,} people; one data set holds no more. Split them.")
    if unread and (not skip_unreadable or not found):
        raise InputError(_refusal(unread, len(found)))
    check_names([person.key for person in found])
    identities = Identities.of([(person.key, person.identity, person.source) for person in found])
    warnings = [f"{person.key}: {warning}" for person in found for warning in person.warnings]
    warnings += _alike(identities.keys, identities.vectors)
    if unread:
        warnings.append(f"{len(unread):,} people were left out because they could not be read.")
    return People(identities, tuple(unread), tuple(warnings))


def check_names(keys: Sequence[str]) -> None:
    """Refuse names that no data set takes, and one that is there twice, also in other capitals. Raises InputError.

    File systems and people do not tell such names apart, nor accents that are written another way.
    """
    seen: dict[str, str] = {}
    for key in keys:
        if not 0 < len(key) <= MAX_KEY or not key.isprintable() or key != key.strip():
            raise InputError(
                f"{checks.shown(key)} cannot be the name of a person: 1 to {MAX_KEY} printable characters are, without "
                "spaces at the ends."
            )
        plain = unicodedata.normalize("NFC", key).casefold()
        if plain in seen:
            other = seen[plain]
            both = f"{checks.shown(other)} and {checks.shown(key)}" if other != key else f"{checks.shown(key)} twice"
            raise InputError(f"Two people have one name: {both}. Give each person a name of their own.")
        seen[plain] = key


def _refusal(unread: Sequence[Unread], others: int) -> str:
    names = "; ".join(f"{person.name}: {person.reason}" for person in unread[:SHOWN])
    more = f"; and {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
    if not others:
        return f"Nobody could be read. {names}{more}"
    return (
        f"{len(unread)} of {len(unread) + others} people could not be read. Mend them, or leave them out "
        f"(skip unreadable). {names}{more}"
    )


def _alike(keys: Sequence[str], vectors: Float32Array) -> list[str]:
    """Warnings about pairs of people who look like one, up to ten; n x n cosines in blocks."""
    if len(keys) > MOST_COMPARED:
        return [f"Nobody looked for people who are there twice: {len(keys):,} are too many to compare."]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found: list[tuple[float, int, int]] = []
    many = 0
    for start in range(0, len(units), _BLOCK):
        for other in range(start, len(units), _BLOCK):
            cosines = units[start : start + _BLOCK] @ units[other : other + _BLOCK].T
            if start == other:
                cosines[np.tril_indices(len(cosines))] = -1.0  # each pair once, nobody with themselves
            many += int((cosines >= SAME_PERSON).sum())
            best = (
                np.argpartition(cosines, max(0, cosines.size - SHOWN), axis=None)[-SHOWN:]
                if (cosines >= SAME_PERSON).any()
                else []
            )
            for place in best:
                row, column = divmod(int(place), cosines.shape[1])
                found.append((float(cosines[row, column]), row + start, column + other))
    found = [pair for pair in sorted(found, reverse=True)[:SHOWN] if pair[0] >= SAME_PERSON]
    warnings = [f"{keys[a]} and {keys[b]} look like one person (cosine {cosine:.2f})." for cosine, a, b in found]
    if many > len(found):
        warnings.append(f"{many - len(found):,} more pairs of people look like one person.")
    return warnings
