"""Fashion-MNIST: pictures of clothes, 28 x 28 pixels with values from 0 to 255."""

from __future__ import annotations

from pathlib import Path

from practical_dl.data import Card, Dataset, File, _idx, register

_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_CLASSES = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def _file(name: str, size: int, sha256: str, md5: str) -> File:
    urls = tuple(f"{url}{name}.gz" for url in _MIRRORS)
    return File(f"FashionMNIST/raw/{name}", sha256, size, urls, md5)


def _read(paths: list[Path]) -> Dataset:
    return Dataset(*map(_idx.read, paths), classes=_CLASSES)


CARD = Card(
    title="Fashion-MNIST",
    licence="MIT (Zalando SE; H. Xiao, K. Rasul, R. Vollgraf)",
    source="official files in {cache}/FashionMNIST",
    read=_read,
    files=(
        _file(
            "train-images-idx3-ubyte",
            26_421_880,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        _file(
            "train-labels-idx1-ubyte",
            29_515,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "25c81989df183df01b3e8a0aad5dffbe",
        ),
        _file(
            "t10k-images-idx3-ubyte",
            4_422_102,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "bef4ecab320f06d8554ea6380940ec79",
        ),
        _file(
            "t10k-labels-idx1-ubyte",
            5_148,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
)
register("fashion_mnist", small=CARD, full=CARD)
