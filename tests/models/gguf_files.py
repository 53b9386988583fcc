"""Writes small GGUF files as llama.cpp's converter does."""

from pathlib import Path

import gguf
import numpy as np

from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.models.tiny import RandomSource, tiny_architecture

TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "a", "b", "ab", "\u0120"]
TYPES = [3, 3, 3, 4, 1, 1, 1, 1]
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tiny_tensors(family: str) -> dict[str, np.ndarray]:
    """Weights by Hugging Face's names, the vocabulary cut to `TOKENS`."""
    tensors = dict(RandomSource(family, seed=3).tensors())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name] = tensors[name][: len(TOKENS)]
    return tensors


def write_tiny_gguf(
    path: Path,
    family: str = "llama",
    *,
    kinds: dict[str, gguf.GGMLQuantizationType] | None = None,
    keys: dict[str, object] | None = None,
    omit: tuple[str, ...] = (),
    extra: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Write a tiny model.

    Args:
        kinds: quantisation by Hugging Face name; F32 elsewhere.
        keys: metadata to add or override.
        omit: GGUF names of metadata keys and tensors to leave out.
        extra: tensors to add by GGUF name.
    """
    arch = tiny_architecture(family)
    writer = gguf.GGUFWriter(path, arch=(keys or {}).get("general.architecture", family))
    for key, value in (_metadata(arch) | (keys or {})).items():
        if key not in omit and key != "general.architecture":
            _add(writer, key, value)
    tensors = tiny_tensors(family)
    for leaf in leaves(arch):
        if gguf_name(leaf.tensor) in omit:
            continue
        tensor = permuted(leaf.tensor, tensors[leaf.tensor], arch)
        kind = (kinds or {}).get(leaf.tensor, gguf.GGMLQuantizationType.F32)
        writer.add_tensor(
            gguf_name(leaf.tensor), gguf.quants.quantize(tensor, kind), raw_dtype=kind
        )
    for name, tensor in (extra or {}).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def permuted(name: str, tensor: np.ndarray, arch: Architecture) -> np.ndarray:
    """Row 2i of a head is row i, row 2i+1 is row i + half: only for Llama's queries and keys."""
    if arch.family != "llama" or not (".q_proj." in name or ".k_proj." in name):
        return tensor
    half = arch.head_dim // 2
    order = [i // 2 + half * (i % 2) for i in range(arch.head_dim)]
    heads = tensor.reshape(-1, arch.head_dim, *tensor.shape[1:])
    return np.ascontiguousarray(heads[:, order].reshape(tensor.shape))


def gguf_name(name: str) -> str:
    """Hugging Face's name, piece by piece."""
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _metadata(arch: Architecture) -> dict[str, object]:
    family = arch.family
    return {
        f"{family}.block_count": arch.num_layers,
        f"{family}.context_length": 128,
        f"{family}.embedding_length": arch.hidden_size,
        f"{family}.feed_forward_length": arch.intermediate_size,
        f"{family}.attention.head_count": arch.num_heads,
        f"{family}.attention.head_count_kv": arch.num_kv_heads,
        f"{family}.attention.layer_norm_rms_epsilon": arch.norm_eps,
        f"{family}.rope.freq_base": arch.rope_theta,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": TYPES,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    match value:
        case str():
            writer.add_string(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case _:
            writer.add_array(key, value)
