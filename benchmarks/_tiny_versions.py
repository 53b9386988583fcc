"""Real versions of the tiny model: published as a learner's are, and known to whoever checks.

No two are alike, so a token that is stamped with the wrong one shows in its log-prob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from clawjax.config import LoraConfig, ModelConfig
from clawjax.models.export import tensors_to_params
from clawjax.models.layout import leaves
from clawjax.models.load import LoadedModel, load_model, open_source
from clawjax.models.lora import adapter_from_tensors, merge, peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.models.transformer import Params, Transformer, causal_attention
from clawjax.protocols import WeightStore, WeightVersion
from clawjax.records import Turn

__all__ = ["LORA", "MODEL", "TinyVersions"]

MODEL = ModelConfig(name="tiny", path="random:llama", context_length=512)
LORA = LoraConfig(rank=2, alpha=4.0, targets=["q_proj", "down_proj"])
_NOISE = 0.3

Tensors = Mapping[str, np.ndarray]


class TinyVersions:
    """Versions by number; 0 is the base model."""

    def __init__(self, store: WeightStore, kinds: Sequence[str]) -> None:
        """Publish to `store`, `full` or `adapter`, one kind after the other and over again."""
        self._store = store
        self._kinds = kinds
        self._params: dict[int, Params] = {}

    @cached_property
    def base(self) -> LoadedModel:
        """The model that all start from."""
        return load_model(MODEL)

    def publish(self, version: int) -> WeightVersion:
        """Make the next version, whose parent is the one before.

        Raises:
            StoreError: the disk refuses.
        """
        is_full = self.kind(version) == "full"
        return self._store.publish(
            self._tensors(version),
            version=version,
            parent=version - 1,
            step=version,
            base_model=self.base.base_id,
            kind=self.kind(version),
            config=config_from_architecture(self.base.architecture)
            if is_full
            else peft_config(LORA, self.base.base_id),
        )

    def kind(self, version: int) -> str:
        """`full` or `adapter`."""
        return self._kinds[(version - 1) % len(self._kinds)]

    def logprob_errors(self, turn: Turn) -> np.ndarray:
        """How far each token's log-prob is from what its version gives it, `[T]` in nats.

        By the plain forward pass over the whole turn, without a cache.
        """
        stamped = np.repeat(
            [run.version for run in turn.token_versions],
            [run.length for run in turn.token_versions],
        )
        expected = np.empty(len(turn.response_ids))
        for version in set(stamped.tolist()):
            logprobs = self._logprobs(version, turn.prompt_ids, turn.response_ids)
            expected[stamped == version] = logprobs[stamped == version]
        return np.abs(np.asarray(turn.sampler_logprobs_t1) - expected)

    def _logprobs(
        self, version: int, prompt: tuple[int, ...], reply: tuple[int, ...]
    ) -> np.ndarray:
        ids = np.zeros((1, MODEL.context_length), np.int32)
        ids[0, : len(prompt) + len(reply)] = (*prompt, *reply)
        logprobs = np.asarray(self._score(self._params_of(version), ids))[0]
        begin, end = len(prompt) - 1, len(prompt) + len(reply) - 1
        return logprobs[np.arange(begin, end), list(reply)]

    @cached_property
    def _score(self) -> jax.stages.Wrapped:
        """`[1, T]` ids to `[1, T, V]` log-probs of what comes next."""
        whole = Transformer(self.base.architecture)

        @jax.jit
        def score(params: Params, ids: jax.Array) -> jax.Array:
            positions = jnp.arange(ids.shape[1])[None]
            attend = causal_attention(jnp.ones(ids.shape, bool))
            tree = {"params": params}
            logits = whole.apply(tree, ids, positions, attend, method=Transformer.score)
            return jax.nn.log_softmax(cast("jax.Array", logits), axis=-1)

        return score

    def _params_of(self, version: int) -> Params:
        if version == 0:
            return self.base.params
        if version not in self._params:
            tensors = self._tensors(version)
            self._params[version] = (
                tensors_to_params(tensors, self.base.architecture)
                if self.kind(version) == "full"
                else merge(self.base.params, adapter_from_tensors(tensors), LORA)
            )
        return self._params[version]

    def _tensors(self, version: int) -> Tensors:
        if self.kind(version) == "full":
            return open_source(MODEL, seed=version).tensors()
        return self._adapter(version)

    def _adapter(self, version: int) -> Tensors:
        rng = np.random.default_rng(version)
        found: dict[str, np.ndarray] = {}
        for leaf in leaves(self.base.architecture):
            if leaf.is_kernel and leaf.path[-2] in LORA.targets:
                rows, columns = leaf.shape
                name = f"base_model.model.{leaf.tensor.removesuffix('.weight')}"
                a = rng.normal(0, _NOISE, (LORA.rank, columns))
                b = rng.normal(0, _NOISE, (rows, LORA.rank))
                found[f"{name}.lora_A.weight"] = a.astype(np.float32)
                found[f"{name}.lora_B.weight"] = b.astype(np.float32)
        return found
