import dataclasses
from pathlib import Path

import gguf_files
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import quants

from clawjax.errors import ConfigError
from clawjax.models.architecture import RopeScaling
from clawjax.models.export import tensors_to_params
from clawjax.models.frequencies import inverse_frequencies
from clawjax.models.gguf import GgufSource
from clawjax.models.gguf_file import GgufFile
from clawjax.models.gguf_tokenizer import tokenizer_from_gguf
from clawjax.models.tiny import tiny_architecture


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_weights_come_back_under_their_names_and_in_their_order(tmp_path, family):
    written = gguf_files.write_tiny_gguf(tmp_path / "tiny.gguf", family)
    read = GgufSource(tmp_path / "tiny.gguf").tensors()
    assert set(read) == set(written)
    assert len(read) == len(written)
    for name, tensor in written.items():
        np.testing.assert_array_equal(read[name], tensor, err_msg=name)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_architecture_is_read_from_keys_and_tensors(tmp_path, family):
    gguf_files.write_tiny_gguf(tmp_path / "tiny.gguf", family)
    expected = dataclasses.replace(
        tiny_architecture(family), vocab_size=len(gguf_files.TOKENS), max_positions=128
    )
    arch = GgufSource(tmp_path / "tiny.gguf").architecture()
    assert arch == dataclasses.replace(expected, norm_eps=arch.norm_eps)
    assert arch.norm_eps == pytest.approx(expected.norm_eps)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        (Kind.F16, 1e-3),
        (Kind.BF16, 1e-2),
        (Kind.Q8_0, 1e-2),
        (Kind.Q5_1, 0.05),
        (Kind.Q4_0, 0.1),
        (Kind.Q4_1, 0.1),
    ],
)
def test_quantised_weights_are_close(tmp_path, kind, tolerance):
    name = "model.layers.1.mlp.down_proj.weight"
    path = tmp_path / "tiny.gguf"
    written = gguf_files.write_tiny_gguf(path, kinds={name: kind})
    read = GgufSource(path).tensors()[name]
    assert read.dtype == np.float32
    difference = np.abs(read - written[name]).max()
    assert 0 < difference <= tolerance * np.abs(written[name]).max()


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K])
def test_k_quants_are_found_at_their_place(tmp_path, kind):
    import gguf

    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 60, (3, block_bytes), dtype=np.uint8)
    path = tmp_path / "one.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("before", np.ones(5, np.float32))
    writer.add_tensor("blocks", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = GgufFile(path).read("blocks")
    assert read.shape == (3, block)
    np.testing.assert_array_equal(read, quants.dequantize(raw, kind))


def test_header_agrees_with_the_reference_reader(tmp_path):
    import gguf

    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path, keys={"llama.rope.scaling.finetuned": True})
    ours, theirs = GgufFile(path), gguf.GGUFReader(path)
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            assert ours.metadata[key] == field.contents(), key
    offsets = {tensor.name: tensor.data_offset for tensor in theirs.tensors}
    assert {name: tensor.offset for name, tensor in ours.tensors.items()} == offsets


@pytest.mark.parametrize(
    ("keys", "is_begun"),
    [
        ({}, False),
        ({"tokenizer.ggml.add_bos_token": True}, True),
        ({"tokenizer.ggml.pre": "llama-bpe"}, True),
        ({"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": False}, False),
    ],
)
def test_whole_texts_begin_with_bos_where_the_file_says_so(tmp_path, keys, is_begun):
    bos = gguf_files.TOKENS.index("<|endoftext|>")
    gguf_files.write_tiny_gguf(
        tmp_path / "tiny.gguf", keys={"tokenizer.ggml.bos_token_id": bos, **keys}
    )
    tokenizer = tokenizer_from_gguf(GgufFile(tmp_path / "tiny.gguf"))
    assert tokenizer.encode_text("ab")[: 1 + is_begun] == ((bos,) if is_begun else ()) + (
        gguf_files.TOKENS.index("ab"),
    )
    assert tokenizer.encode_prompt("ab") == (gguf_files.TOKENS.index("ab"),)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"llama.rope.scaling.type": "none"}, None),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}, None),
        ({"llama.rope.scaling.factor": 1.0}, None),
        (
            {"llama.rope.scaling.factor": 4.0},
            RopeScaling("linear", 4.0, original_max_positions=128),
        ),
        (
            {"llama.rope.scale_linear": 4.0},
            RopeScaling("linear", 4.0, original_max_positions=128),
        ),
        (
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
            RopeScaling("linear", 4.0, original_max_positions=128),
        ),
        (
            {
                "llama.rope.scaling.type": "yarn",
                "llama.rope.scaling.factor": 2.0,
                "llama.rope.scaling.original_context_length": 64,
            },
            RopeScaling("yarn", 2.0, original_max_positions=64),
        ),
    ],
)
def test_rope_scaling_keys(tmp_path, keys, expected):
    gguf_files.write_tiny_gguf(tmp_path / "tiny.gguf", keys=keys)
    assert GgufSource(tmp_path / "tiny.gguf").architecture().rope_scaling == expected


def test_yarn_reaches_beyond_the_trained_positions_as_in_a_configuration(tmp_path):
    keys = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}
    gguf_files.write_tiny_gguf(tmp_path / "tiny.gguf", keys=keys)
    assert GgufSource(tmp_path / "tiny.gguf").architecture().max_positions == 4 * 128


def test_llama3_scaling_is_recovered_from_its_divisors(tmp_path):
    plain = tiny_architecture("llama")
    scaling = RopeScaling("llama3", 8.0)
    scaled = dataclasses.replace(plain, rope_scaling=scaling)
    divisors = inverse_frequencies(plain) / inverse_frequencies(scaled)
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path, extra={"rope_freqs.weight": divisors.astype(np.float32)})
    assert GgufSource(path).architecture().rope_scaling == scaling


def test_other_divisors_are_refused(tmp_path):
    path = tmp_path / "tiny.gguf"
    divisors = np.linspace(1, 3, 8, dtype=np.float32)
    gguf_files.write_tiny_gguf(path, extra={"rope_freqs.weight": divisors})
    with pytest.raises(ConfigError, match="another way than Llama 3"):
        GgufSource(path).architecture()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": {"general.architecture": "gemma3"}}, "'gemma3'.*llama, qwen2, qwen3"),
        ({"keys": {"llama.expert_count": 8}}, "mixture of experts.*llama.expert_count=8"),
        ({"keys": {"llama.attention.sliding_window": 64}}, "sliding-window"),
        ({"keys": {"llama.rope.scaling.type": "longrope"}}, "'longrope'.*linear or yarn"),
        ({"keys": {"llama.rope.dimension_count": 8}}, "rotates 8 of 16"),
        ({"keys": {"llama.rope.scaling.attn_factor": 1.5}}, "attention.*attn_factor=1.5"),
        ({"keys": {"llama.rope.scaling.yarn_log_multiplier": 0.1}}, "yarn_log_multiplier=0.1"),
        ({"omit": ("llama.block_count",)}, "lacks the key llama.block_count"),
        ({"omit": ("token_embd.weight",)}, "no tensor 'token_embd.weight'"),
    ],
)
def test_what_cannot_be_computed_is_named(tmp_path, options, message):
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path, **options)
    with pytest.raises(ConfigError, match=message):
        GgufSource(path).architecture()


def test_a_model_is_read_once(tmp_path, monkeypatch):
    """Whether a tensor is there, and its shape, are in the header."""
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path)
    source, seen = GgufSource(path), []
    read = GgufFile.read
    monkeypatch.setattr(GgufFile, "read", lambda self, name: seen.append(name) or read(self, name))
    tensors_to_params(source.tensors(), source.architecture())
    assert len(seen) == len(set(seen)) == len(GgufFile(path).tensors)


def test_a_missing_tensor_is_named(tmp_path):
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path, omit=("blk.1.ffn_up.weight",))
    with pytest.raises(ConfigError, match=r"no tensor 'blk.1.ffn_up.weight'"):
        GgufSource(path).tensors()["model.layers.1.mlp.up_proj.weight"]


def test_an_unknown_quantisation_is_named(tmp_path):
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path)
    file = GgufFile(path)
    tensor = file.tensors["output_norm.weight"]
    for type_id, name in ((4095, "type 4095"), (int(Kind.Q8_K), "Q8_K")):
        file.tensors["output_norm.weight"] = dataclasses.replace(
            tensor, type_id=type_id, shape=(1, 256), offset=0
        )
        with pytest.raises(ConfigError, match=f"stored as {name}.*K-quant"):
            file.read("output_norm.weight")


def test_files_that_are_no_gguf(tmp_path):
    path = tmp_path / "x.gguf"
    with pytest.raises(ConfigError, match="cannot be read"):
        GgufFile(path)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="is empty"):
        GgufFile(path)
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        GgufFile(path)
    path.write_bytes(b"GGUF" + (99).to_bytes(4, "little") + bytes(16))
    with pytest.raises(ConfigError, match="GGUF version 99"):
        GgufFile(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.gguf", tmp_path / "cut.gguf"
    gguf_files.write_tiny_gguf(whole)
    content = whole.read_bytes()
    header = min(tensor.offset for tensor in GgufFile(whole).tensors.values())
    for size in [*range(4, header - 64, 97), len(content) - 40_000]:
        cut.write_bytes(content[:size])
        with pytest.raises(ConfigError, match=r"damaged header|ends within"):
            _read_all(cut)


def _read_all(path: Path) -> None:
    file = GgufFile(path)
    for name in file.tensors:
        file.read(name)


def test_tokenizer_of_a_file(tmp_path):
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path)
    tokenizer = GgufSource(path).tokenizer()
    assert tokenizer.encode("ab<think> ba<|im_end|>") == (6, 3, 7, 5, 4, 2)
    assert tokenizer.decode((6, 3, 7, 5, 4, 2)) == "ab<think> ba"
    assert tokenizer.eos_ids == {0, 2}
    assert tokenizer.vocab_size == len(gguf_files.TOKENS)


def test_the_end_of_a_call_of_llama_ends_the_reply(tmp_path):
    path = tmp_path / "tiny.gguf"
    tokens = ["<|eom_id|>" if each == "<|im_start|>" else each for each in gguf_files.TOKENS]
    gguf_files.write_tiny_gguf(path, keys={"tokenizer.ggml.tokens": tokens})
    assert tokens.index("<|eom_id|>") in GgufSource(path).tokenizer().eos_ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": {"tokenizer.ggml.model": "llama"}}, "'llama' is not supported.*byte-level"),
        ({"keys": {"tokenizer.ggml.pre": "viking"}}, "'viking' is not supported"),
        ({"omit": ("tokenizer.chat_template",)}, "lacks the key tokenizer.chat_template"),
        ({"omit": ("tokenizer.ggml.merges",)}, "lacks the key tokenizer.ggml.merges"),
    ],
)
def test_tokenizers_that_cannot_be_built(tmp_path, options, message):
    path = tmp_path / "tiny.gguf"
    gguf_files.write_tiny_gguf(path, **options)
    with pytest.raises(ConfigError, match=message):
        GgufSource(path).tokenizer()


def test_base_id_tells_weights_apart(tmp_path):
    ids = set()
    for name, kinds in (("a", {}), ("b", {"model.layers.0.mlp.up_proj.weight": Kind.Q8_0})):
        file = tmp_path / f"{name}.gguf"
        gguf_files.write_tiny_gguf(file, kinds=kinds)
        ids.add(GgufSource(file).base_id())
        renamed = file.rename(tmp_path / f"renamed-{name}.gguf")
        ids.add(GgufSource(renamed).base_id())
    assert len(ids) == 2
    assert all(each.startswith("llama@") for each in ids)
