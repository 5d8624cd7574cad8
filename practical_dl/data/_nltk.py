"""Sets of NLTK's repository of corpora: each is a zip of its own, taken unchanged."""

from __future__ import annotations

from pathlib import Path

import pooch
import requests

from practical_dl.data import File, cache

RAW = "https://raw.githubusercontent.com"
_CORPORA = "nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora"


def get(name: str, file: File) -> list[Path]:
    """The path of a corpus in the cache, where it is put if it is missing. Raises DataError.

    The whole repository is large, therefore the one file is downloaded.
    """
    target = cache.folder() / file.path
    size = cache.size([file])
    with cache.errors(name, target.parent, size):
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            try:
                pooch.HTTPDownloader(progressbar=True)(
                    f"{RAW}/{_CORPORA}/{target.name}", str(part), None
                )
                cache.write(target, part.read_bytes())
            except requests.RequestException as error:
                raise cache.absent(name, size, [type(error).__name__]) from error
            finally:
                part.unlink(missing_ok=True)
        if cache.sha256(target.read_bytes()) != file.sha256:
            raise cache.damaged(target, name)
    return [target]
