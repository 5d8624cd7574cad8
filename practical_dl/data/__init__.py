"""The only door to data: `load(name, profile)`.

It looks in the cache (`PRACTICAL_DL_DATA`, else a per-user folder), then at the official source,
always with a checksum. Small sets that an installed package ships are named as such. It prints
what it loaded and never puts another data set in the place of a missing one.

`python -m practical_dl.data NAME` fetches a data set into the cache (`--profile full` the full
one, where it is another).

A data set is a file here. Its name is the set's, it ends with `register(...)`, and it is imported
when the set is loaded. `cache` is what all sets share; a module whose name begins with `_`, some.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from practical_dl.data import cache
from practical_dl.data.cache import DataError, File, Repository
from practical_dl.data.cache import folder as cache_folder

__all__ = [
    *("Card", "DataError", "Dataset", "File", "PROFILES", "Repository", "cache_folder", "fetch"),
    *("is_cached", "load", "names", "register", "withheld"),
]

PROFILES = ("small", "full")


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, split into train and test.

    x_train: (n, ...), x_test likewise; or a tuple of n texts or arrays of unlike shapes.
    y_train, y_test: what is to be predicted, one per example: class numbers (n,); or masks
    (n, h, w) int32, where 0 is background and 1, 2, ... are the instances; or boxes, a tuple of n
    arrays (k, 5) of x0, y0, x1, y1, class in pixels; or, without classes, anything else.
    name, licence, source: as its card says; `load` fills them in.
    """

    x_train: np.ndarray | tuple[Any, ...]
    y_train: np.ndarray | tuple[Any, ...]
    x_test: np.ndarray | tuple[Any, ...]
    y_test: np.ndarray | tuple[Any, ...]
    classes: tuple[str, ...] = ()
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        alike = isinstance(self.x_train, np.ndarray)
        shape = f" of shape {self.x_train.shape[1:]}" if alike else ""
        target = ""
        if self.classes:
            boxes = isinstance(self.y_train, tuple)
            target = ", boxes of " if boxes else ", masks, " if self.y_train.ndim == 3 else ", "
            target += f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''}"
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test examples"
            f"{shape}{target}\nsource: {self.source}\nlicence: {self.licence}"
        )


@dataclass(frozen=True)
class Card:
    """What is known of a data set before it is loaded, and how that is done.

    title, licence: as they are printed. source: likewise, where {cache} is the cache's folder.
    read: makes a `Dataset` of the paths of `files`. A set that does not fit into one may be any
    frozen dataclass that prints itself and has the fields name, licence and source.
    files: of the cache; none where an installed package ships the set. repository: where they are
    built from, else they are downloaded. get: brings them into the cache in another way than these
    and returns their paths.
    withhold: the number of test examples, at the end, that `load` leaves to `withheld`.
    """

    title: str
    licence: str
    source: str
    read: Callable[[list[Path]], Dataset]
    files: Sequence[File] = ()
    repository: Repository | None = None
    get: Callable[[], list[Path]] | None = None
    withhold: int = 0

    @property
    def size(self) -> str:
        """Of what is downloaded, in words."""
        return cache.size(self.files)


_cards: dict[str, dict[str, Card]] = {}  # of the sets that were asked for: by name, then profile


def register(name: str, **cards: Card) -> None:
    """Let `load` know a data set by its cards: `small`, and `full` where it serves that profile."""
    _cards[name] = cards


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    found = {module.name for module in pkgutil.iter_modules(__path__)} - {"cache"}
    return tuple(sorted({n for n in found if not n.startswith("_")} | set(_cards)))


def load(name: str, profile: str = "small", *, quiet: bool = False) -> Dataset:
    """Load a data set, print what it is, and return it.

    name: one of `names()`. profile: "small" or "full"; sets that an installed package ships
    serve "small" alone. quiet: do not print.
    Raises DataError: no such set, not for this profile, can't be fetched, or damaged.
    """
    card = _card(name, profile)
    dataset = _read(name, card)
    if card.withhold:
        x, y = dataset.x_test[: -card.withhold], dataset.y_test[: -card.withhold]
        dataset = replace(dataset, x_test=x, y_test=y)
    if not quiet:
        print(dataset)
    return dataset


def withheld(name: str, profile: str = "small") -> tuple[np.ndarray, np.ndarray]:
    """The test examples that `load` does not give: x (n, ...) and what is to be predicted, y.

    For the course's private tests. Raises DataError as `load` does.
    """
    card = _card(name, profile)
    if not card.withhold:
        raise DataError(f"nothing is withheld of the data set {name!r}")
    dataset = _read(name, card)
    return dataset.x_test[-card.withhold :], dataset.y_test[-card.withhold :]


def is_cached(name: str, profile: str = "small") -> bool:
    """Whether the files of a data set are all there, so that `load` needs no network."""
    return all(file.is_there() for file in _card(name, profile).files)


def fetch(name: str, profile: str = "small") -> list[Path]:
    """Bring the files of a data set into the cache and return their paths.

    Every file is checked against its checksum, also when it was there already. Raises DataError.
    """
    return _fetch(name, _card(name, profile))


def _card(name: str, profile: str) -> Card:
    if profile not in PROFILES:
        raise DataError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    if name not in names():
        raise DataError(f"there is no data set {name!r}; there are {', '.join(names())}")
    if name not in _cards:
        importlib.import_module(f"{__name__}.{name}")
    if profile not in _cards[name]:
        raise DataError(f"the data set {name!r} is not meant for the profile {profile!r}")
    return _cards[name][profile]


def _fetch(name: str, card: Card) -> list[Path]:
    if card.get is not None:
        return card.get()
    if card.repository is not None:
        return cache.build(name, card.files, card.repository)
    return cache.download(name, card.files)


def _read(name: str, card: Card) -> Dataset:
    source = card.source.format(cache=cache_folder())
    dataset = card.read(_fetch(name, card))
    return replace(dataset, name=card.title, licence=card.licence, source=source)
