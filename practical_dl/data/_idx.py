"""The IDX format of MNIST and of sets that follow it: bytes in a few dimensions, often gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def read(path: Path) -> np.ndarray:
    """Read an IDX file of bytes: magic 00 00 08 d, then d big-endian sizes, then data."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
