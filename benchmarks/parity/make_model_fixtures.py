"""Write what `transformers` and `peft` compute, as fixtures that the tests compare clawjax with.

Needs torch, so it has an environment of its own:

    python -m venv /tmp/parity
    /tmp/parity/bin/pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0
    /tmp/parity/bin/python benchmarks/parity/make_model_fixtures.py \
        --gguf path/to/SmolLM2-135M-Instruct.Q4_1.gguf --out tests/models/data

Written to the output folder: one Hugging Face directory per tiny random model, each with
`expected.npz` (ids and logits, fp32); `smollm2.npz` and `smollm2.json` (logits at selected places,
token ids, rendered conversations); `splits.json` (token ids under each family's text split).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)
from transformers.convert_slow_tokenizer import TikTokenConverter

SEED = 7
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 384
LENGTH = 48
"""Tokens per sequence: three times the length that the scaled models were `trained` on."""

TEXTS = [
    "",
    " ",
    "\n",
    "Hello, world!",
    "  two  spaces,\ttabs\t\tand trailing   ",
    "line one\nline two\r\n\r\n  indented\n\n\n",
    "I'm sure they'll say it's fine; we've DON'T WE'LL",
    "0 1 12 123 1234 12345 3.14159 1,000,000 x2 v1.0.3  42",
    "٣٤٥ ½ Ⅷ ²",
    "naïve café Ångström; é é",
    "Привет, как дела? 你好，世界。 こんにちは 안녕하세요 مرحبا שלום",  # noqa: RUF001
    "😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ✈️",
    "\u200b\ufeff\u00a0\u3000 odd spaces",
    "def f(x: int) -> str:\n    return f\"{x!r}\" if x >= 0 else '-'  # comment\n",
    '{"a": [1, 2.5e-3, null], "b\\n": {"c": true}}',
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\dir\\file.txt",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|> <|im_start|x",
    "<tool_call>\n{}\n</tool_call> $\\frac{a}{b}$ ~~~ ### *** ---",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x00\x07\x1b[0m\x7f",
]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather for a city, in °C & <b>words</b>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Köln"}},
}

CONVERSATIONS = [
    [{"role": "user", "content": "What is 2 + 2?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\nthere"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "  <b>&amp; 'quotes' \"too\"  "},
    ],
    [
        {"role": "user", "content": "Weather in Köln?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"t": 21}', "tool_call_id": "call_1", "name": "get_weather"},
    ],
]

TOOL_TEMPLATE = """\
{%- if messages[0].role == 'tool' %}{{ raise_exception('a tool cannot speak first') }}{% endif %}
{%- set ns = namespace(turns=0) %}
{%- if tools %}
[TOOLS] {{ tools | tojson }}
{{ tools[0] | tojson(indent=2) }}
{% endif %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
{{ eos_token }}{{ message['role'] }}#{{ ns.turns }}
    {%- generation %}
        {%- for call in message.tool_calls or [] %}
 -> {{ call.function.name }}({{ call.function.arguments | tojson }})
        {%- endfor %}
    {%- endgeneration %}
 {{ message.content | trim }}{{ ' [' ~ message.tool_call_id ~ ']' if message.tool_call_id }}
{% endfor %}
{% if add_generation_prompt %}assistant:{% endif %}
"""
"""Written for this test: it uses what templates in the wild use."""

PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


def main() -> None:
    """Write all fixtures."""
    parser = argparse.ArgumentParser(description="Write model fixtures for the tests.")
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct GGUF")
    parser.add_argument("--out", type=Path, required=True, help="e.g. tests/models/data")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tiny_models(arguments.out)
    write_splits(arguments.out / "splits.json")
    write_default_model(arguments.gguf, arguments.out)


# --- tiny random models -------------------------------------------------------------------------


def write_tiny_models(out: Path) -> None:
    """Four models that together cover family, tying, biases, scaling, dtype and sharding."""
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": [0, 2],
        "pad_token_id": None,
    }
    llama3 = {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
    }  # fmt: skip
    yarn = {
        "rope_type": "yarn", "rope_theta": 1000.0, "factor": 8.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    bpe = trained_bpe()
    qwen = qwen_tokenizer(bpe)
    tied = {"tie_word_embeddings": True}
    write_tiny(out / "llama", LlamaConfig(**shape, **tied), llama_tokenizer(), adapter_rank=3)
    write_tiny(
        out / "llama3_rope",
        LlamaConfig(**shape, attention_bias=True, head_dim=12, rope_parameters=llama3),
        qwen,
        dtype=torch.bfloat16,
    )
    write_tiny(out / "qwen2", Qwen2Config(**shape, **tied), qwen, shard_bytes=40_000)
    write_tiny(out / "qwen3_yarn", Qwen3Config(**shape, head_dim=16, rope_parameters=yarn), qwen)


def write_tiny(
    directory: Path,
    config: LlamaConfig | Qwen2Config | Qwen3Config,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = 10_000_000,
    adapter_rank: int | None = None,
) -> None:
    """Save a random model, its tokenizer, its logits, and an adapter with the adapted logits."""
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    enliven(model)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard_bytes)
    tokenizer.save_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    ids = torch.randint(0, VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(SEED))
    expected = {"ids": ids[0].numpy(), "logits": logits(model, ids)}
    if adapter_rank is not None:
        expected["adapted"] = logits(adapted(model, adapter_rank, directory), ids)
    np.savez_compressed(directory / "expected.npz", **expected)
    write_json(directory / "tokens.json", tokenization(tokenizer))


def enliven(model: PreTrainedModel) -> None:
    """Make every parameter matter: random norms and biases, weights that move the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim == 1:
                parameter.normal_(0.0, 0.3)
            else:
                parameter.normal_(0.0, 0.3)


def adapted(model: PreTrainedModel, rank: int, directory: Path) -> torch.nn.Module:
    """Add a random adapter, saved beside the model."""
    targets = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM")
    peft_model = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.2)
    peft_model.save_pretrained(directory / "adapter")
    (directory / "adapter" / "README.md").unlink()
    return peft_model


def logits(model: torch.nn.Module, ids: torch.Tensor) -> np.ndarray:
    """Scores of one sequence, `[T, V]`."""
    with torch.no_grad():
        return model.eval()(ids).logits[0].float().numpy()


# --- tokenizers ---------------------------------------------------------------------------------


def trained_bpe() -> Tokenizer:
    """A byte-level BPE of `VOCABULARY` tokens, trained on the texts below."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, TOOL_TEMPLATE, __doc__], trainer)
    return tokenizer


def parts(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges."""
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def qwen_tokenizer(bpe: Tokenizer) -> PreTrainedTokenizerBase:
    """Qwen's split and normalisation over a tiny vocabulary, with a template that takes tools."""
    vocab, merges = parts(bpe)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=merges, unk_token=None, eos_token="<|im_end|>",
        pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = TOOL_TEMPLATE
    return tokenizer


def llama_tokenizer() -> PreTrainedTokenizerBase:
    """Llama 2's kind: spaces as U+2581, and bytes where a character is no token."""
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=[], show_progress=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(["the quick brown fox and the lazy dog ran to them"], trainer)
    pieces, merges = parts(trained)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocab = {name: index for index, name in enumerate(dict.fromkeys(names))}
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def tokenization(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """Ids of all texts, their decodings, and all conversations as the template writes them."""
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    return {
        "texts": TEXTS,
        "ids": ids,
        "decoded": [tokenizer.decode(each, skip_special_tokens=True) for each in ids],
        "decoded_special": [tokenizer.decode(each) for each in ids],
        "conversations": CONVERSATIONS,
        "tools": TOOLS,
        "rendered": [rendered(tokenizer, messages, tools=None) for messages in CONVERSATIONS],
        "rendered_tools": [
            rendered(tokenizer, messages, tools=TOOLS) for messages in CONVERSATIONS
        ],
    }


def rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None
) -> str:
    """A conversation as prompt text."""
    return tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, tokenize=False
    )


def write_splits(path: Path) -> None:
    """Ids under each text split, one vocabulary for all."""
    bpe = trained_bpe()
    vocab, merges = parts(bpe)
    qwen = qwen_tokenizer(bpe).backend_tokenizer
    tiktoken = TikTokenConverter(vocab_file="unused").pattern
    encoders = {
        "gpt2": bpe,
        "smollm": with_split(bpe, digits()),
        "qwen2": qwen,
        "llama-bpe": with_split(bpe, words(tiktoken)),
    }
    write_json(
        path,
        {
            "tokens": sorted(vocab, key=vocab.__getitem__),
            "special": SPECIAL,
            "merges": merges,
            "texts": TEXTS,
            "ids": {
                name: [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
                for name, tokenizer in encoders.items()
            },
        },
    )


def with_split(bpe: Tokenizer, split: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A copy that splits text in another way."""
    tokenizer = Tokenizer.from_str(bpe.to_str())
    tokenizer.pre_tokenizer = split
    return tokenizer


def digits() -> pre_tokenizers.PreTokenizer:
    """What SmolLM2's published tokenizer.json says."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pieces])


def words(pattern: str) -> pre_tokenizers.PreTokenizer:
    """A split by regular expression, then bytes."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, pieces])


# --- the default model --------------------------------------------------------------------------


def write_default_model(gguf: Path, out: Path) -> None:
    """Token ids, rendered conversations, and logits at selected places."""
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # transformers drops the split that the file names (tokenizer.ggml.pre=smollm).
    tokenizer.backend_tokenizer.pre_tokenizer = digits()
    write_json(out / "smollm2.json", tokenization(tokenizer))
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, attn_implementation="eager"
    )
    expected: dict[str, Any] = {}
    for index, messages in enumerate(CONVERSATIONS):
        ids = tokenizer(rendered(tokenizer, messages, None), return_tensors="pt")["input_ids"]
        scores = logits(model, ids)
        positions = np.asarray([0, len(scores) // 2, len(scores) - 1])
        columns = np.unique(
            np.concatenate([scores[positions].argsort(axis=1)[:, -48:].ravel(),
                            np.arange(0, scores.shape[1], 512)])
        )  # fmt: skip
        expected |= {
            f"ids_{index}": ids[0].numpy(),
            f"positions_{index}": positions,
            f"columns_{index}": columns,
            f"logits_{index}": scores[np.ix_(positions, columns)],
        }
    np.savez_compressed(out / "smollm2.npz", **expected)


def write_json(path: Path, content: object) -> None:
    """UTF-8, one line."""
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
