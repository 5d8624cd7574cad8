"""What data sets of pictures share."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def decode(pictures: Sequence[bytes], shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Decode picture files of one shape: (n, *shape)."""
    out = np.empty((len(pictures), *shape), dtype)
    for i, content in enumerate(pictures):
        with Image.open(io.BytesIO(content)) as picture:
            out[i] = picture
    return out
