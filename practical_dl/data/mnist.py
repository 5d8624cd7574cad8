"""MNIST: handwritten digits, 28 x 28 pixels with values from 0 to 255."""

from __future__ import annotations

from pathlib import Path

from practical_dl.data import Card, Dataset, File, _idx, register

_MIRRORS = (
    # torchvision's mirrors: the original host is often down.
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _file(name: str, size: int, sha256: str, md5: str) -> File:
    urls = tuple(f"{url}{name}.gz" for url in _MIRRORS)
    return File(f"MNIST/raw/{name}", sha256, size, urls, md5)


def _read(paths: list[Path]) -> Dataset:
    return Dataset(*map(_idx.read, paths), classes=tuple("0123456789"))


CARD = Card(
    title="MNIST",
    licence="CC BY-SA 3.0 (Y. LeCun, C. Cortes; stated by the data set's mirrors)",
    source="official files in {cache}/MNIST",
    read=_read,
    files=(
        _file(
            "train-images-idx3-ubyte",
            9_912_422,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        _file(
            "train-labels-idx1-ubyte",
            28_881,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        _file(
            "t10k-images-idx3-ubyte",
            1_648_877,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        _file(
            "t10k-labels-idx1-ubyte",
            4_542,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
)
register("mnist", small=CARD, full=CARD)
