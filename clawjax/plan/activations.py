"""What a learner's device holds besides weights while it computes a micro-batch.

The formulas follow `clawjax.learner.decoder`, which keeps, per layer and token, the layer's input
and the results of its large matrix products, and computes everything else again (gradient
checkpointing, Chen et al. 2016, arXiv:1604.06174). Of what is computed again, the attention's
weights are the largest where they are held; in long rows it is the layer at work and the fp32
states around head and norms, of which `_STATES` is what XLA's compiler for TPUs was seen to need.
Invariant: parts are summed although not all of them are largest at the same time, so a plan is
nearer to too much than to too little; a test holds the sum to within 25 % of what XLA's own
analysis of the compiled step says.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.config import AttentionKernel, ComputeDtype, LearnerConfig, LoraConfig, Remat
from clawjax.models.architecture import Architecture
from clawjax.plan.division import WHOLE, Division

__all__ = [
    "CHUNK",
    "SHORT_SUM",
    "attention_bytes",
    "is_fused",
    "itemsize",
    "kept_bytes",
    "logits_bytes",
    "mask_bytes",
    "rows_per_device",
    "working_bytes",
]

CHUNK = 128
"""Positions whose logits exist at one time (`clawjax.learner.logprobs`)."""
SHORT_SUM = 256
"""Products over no more terms are computed again (`clawjax.learner.decoder`)."""
_BLOCKS = 4
"""Parts of the queries that attention is computed for in turn."""
_SCORES = 3
"""Arrays of the size of all attention scores: scores, weights, and the gradient of either."""
_SCORES_KEPT = 5
"""The same where a layer keeps them all for its gradient: masked, shifted, and their sums too."""
_STATES = 14
"""Arrays `[rows, T, D]` in fp32 that are there at one time: what enters and leaves norms and the
head, their gradients, and what devices exchange. Of Qwen3-8B on eight TPUs, `tensor=8`, a row of
32,768 and `remat=full`, the compiler needs 16.58 GiB for v5e and 18.6 GiB for v5p (jax 0.10.2),
of which these are 7."""
_LOGITS = 2
"""Arrays of the size of a chunk's logits: these and their gradient."""


def rows_per_device(micro_batch_tokens: int, length: int, division: Division) -> int:
    """Rows `[length]` of a micro-batch that one device computes."""
    rows = max(1, micro_batch_tokens // length)
    return -(-rows // division.rows)


def kept_bytes(
    arch: Architecture,
    lora: LoraConfig | None,
    tokens: int,
    division: Division = WHOLE,
    *,
    itemsize: int = 4,
    remat: Remat = Remat.dots,
) -> int:
    """What the layers keep for their gradients, of `tokens` on one device.

    `layers tokens (D + q + k + v + o + gate + up + down + adapters)` numbers: of each product its
    width, where it sums over more than `SHORT_SUM` terms; of an adapter its rank. Under `full`
    nothing but a layer's input; under `none` about twice as much, for what lies between the
    products (norms, rotated heads, the gated product), and attention's scores of every layer.
    """
    if remat is Remat.full:
        return arch.hidden_size * tokens * arch.num_layers * itemsize
    total = _layer_width(arch, lora, division)
    return (2 if remat is Remat.none else 1) * total * tokens * arch.num_layers * itemsize


def working_bytes(
    arch: Architecture,
    lora: LoraConfig | None,
    tokens: int,
    division: Division = WHOLE,
    *,
    itemsize: int = 4,
) -> int:
    """What one layer makes while its gradient is computed, and the fp32 states around it."""
    layer = _layer_width(arch, lora, division) * itemsize
    return (layer + _STATES * 4 * arch.hidden_size) * tokens


def mask_bytes(rows: int, length: int) -> int:
    """`[B, 1, T, T]` booleans that say to cuDNN's kernel which tokens share a segment."""
    return rows * length * length


def _layer_width(arch: Architecture, lora: LoraConfig | None, division: Division) -> int:
    """Numbers of a token that a layer keeps: its input, and of its products those worth it."""
    total = arch.hidden_size
    for name, (terms, width) in _products(arch).items():
        is_divided = name not in ("o_proj", "down_proj") and width % division.tensor == 0
        if terms > SHORT_SUM:
            total += width // division.tensor if is_divided else width
            if lora is not None and name in lora.targets:
                total += lora.rank
        if lora is not None and name in lora.targets and lora.rank > SHORT_SUM:
            total += width // division.tensor if is_divided else width
    return total


def itemsize(learner: LearnerConfig, platform: str) -> int:
    """Bytes of a number that a layer keeps; on a CPU, XLA computes 16-bit products in fp32."""
    return 2 if learner.compute_dtype is ComputeDtype.bfloat16 and platform != "cpu" else 4


def is_fused(learner: LearnerConfig, arch: Architecture, platform: str) -> bool:
    """Whether attention's kernel never holds its scores (`clawjax.models.attention`)."""
    is_half = learner.compute_dtype is ComputeDtype.bfloat16
    fits_cudnn = platform == "gpu" and is_half and arch.head_dim in range(8, 129, 8)
    match learner.attention:
        case AttentionKernel.auto:
            return platform == "tpu" or fits_cudnn
        case AttentionKernel.xla:
            return False
        case _:
            return True


def attention_bytes(
    arch: Architecture,
    rows: int,
    length: int,
    division: Division = WHOLE,
    *,
    remat: Remat = Remat.dots,
) -> int:
    """Attention's scores of one layer in fp32, for `rows` sequences of `length`.

    Each of four blocks of queries meets the keys up to its end: five eighths of the square. Where
    nothing is computed again, all layers keep theirs.
    """
    width = -(-length // _BLOCKS)
    pairs = sum(
        (min(start + width, length) - start) * min(start + width, length)
        for start in range(0, length, width)
    )
    heads = -(-arch.num_heads // division.tensor)
    arrays = _SCORES_KEPT * arch.num_layers if remat is Remat.none else _SCORES
    return arrays * 4 * rows * heads * pairs


def logits_bytes(arch: Architecture, division: Division = WHOLE) -> int:
    """Logits of a chunk of positions in fp32, and their gradient."""
    return _LOGITS * 4 * CHUNK * -(-arch.vocab_size // division.tensor)


def _products(arch: Architecture) -> dict[str, Sequence[int]]:
    """Terms summed over, and width of the result, of a layer's products with weights."""
    queries, keys = arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    hidden, wide = arch.hidden_size, arch.intermediate_size
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, wide),
        "up_proj": (hidden, wide),
        "down_proj": (wide, hidden),
    }
