"""stories260K: a language model of 260,000 numbers that tells stories for children (A. Karpathy).

It is built as Llama 2 is, only small, and it learned from TinyStories (R. Eldan, Y. Li, 2023,
arXiv:2305.07759). Its file has the format of llama2.c: seven integers, then float32 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from practical_dl.data import Card, File, Repository, register

_HEAD = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "length")


@dataclass(frozen=True)
class Stories:
    """The model as arrays and its tokens as bytes.

    config: dim (of a token's vector) 64, hidden (of the feed-forward part) 172, layers 5, heads 8,
    kv_heads 4, vocab 512, length (the longest text) 512.
    weights: float32, all layers of a kind in one array, each matrix (out, in): embedding
    (vocab, dim), which also makes the logits; attention_norm, feed_forward_norm (layers, dim); wq,
    wo (layers, dim, dim); wk, wv (layers, kv_heads * dim / heads, dim); w1, w3
    (layers, hidden, dim); w2 (layers, dim, hidden); norm (dim,).
    tokens: of each number its text. 0 is unknown, 1 begins a text, 2 ends it, 3 + b is the byte b.
    scores: (vocab,) when a text is cut into tokens, the neighbours whose union has the highest
    score are joined first.
    name, licence, source: as the card says; `load` fills them in.
    """

    config: dict[str, int]
    weights: dict[str, np.ndarray]
    tokens: tuple[bytes, ...]
    scores: np.ndarray
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        numbers = sum(array.size for array in self.weights.values())
        config = ", ".join(f"{key} {value}" for key, value in self.config.items())
        return (
            f"{self.name}: {numbers:,} numbers ({config})\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


def _read(paths: list[Path]) -> Stories:
    model, tokenizer = (path.read_bytes() for path in paths)
    config = dict(zip(_HEAD, np.frombuffer(model, "<i4", 7).tolist(), strict=True))
    layers, dim, hidden = config["layers"], config["dim"], config["hidden"]
    kv_dim = dim // config["heads"] * config["kv_heads"]
    shapes = {
        "embedding": (config["vocab"], dim),
        "attention_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv_dim, dim),
        "wv": (layers, kv_dim, dim),
        "wo": (layers, dim, dim),
        "feed_forward_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
    }
    weights, place = {}, 7 * 4
    for name, shape in shapes.items():  # in the order of the file; tables of rotations follow
        count = int(np.prod(shape))
        array = np.frombuffer(model, "<f4", count, place).reshape(shape)
        weights[name], place = array.astype(np.float32), place + 4 * count
    return Stories(config, weights, *_tokens(tokenizer, config["vocab"]))


def _tokens(content: bytes, count: int) -> tuple[tuple[bytes, ...], np.ndarray]:
    """The tokens of a tokenizer's file: a length, then for each token score, length and bytes."""
    tokens, scores, place = [], [], 4
    for number in range(count):
        scores.append(np.frombuffer(content, "<f4", 1, place)[0])
        end = place + 8 + int(np.frombuffer(content, "<u4", 1, place + 4)[0])
        is_byte = 3 <= number < 259  # written as <0x41>
        tokens.append(bytes([number - 3]) if is_byte else content[place + 8 : end])
        place = end
    return tuple(tokens), np.array(scores, np.float32)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The repository's two files, unchanged."""
    return [files["data/stories260K.bin"], files["data/tok512.bin"]]


def _file(name: str, sha256: str, size: int) -> File:
    return File(f"models/stories260K/{name}", sha256, size, built=sha256)


CARD = Card(
    title="stories260K",
    licence="MIT (A. Karpathy, llama2.c); learned from TinyStories, CDLA-Sharing-1.0",
    source="{cache}/models/stories260K",
    read=_read,
    files=(
        _file(
            "stories260K.bin",
            "b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696",
            1_056_540,
        ),
        _file(
            "tok512.bin", "037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312", 6_227
        ),
    ),
    repository=Repository("DaveBben/esp32-llm", "934dab4d242d259abd88678488ea3b62d4fca601", _build),
)
register("stories260k", small=CARD, full=CARD)
