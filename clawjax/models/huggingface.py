"""Models from Hugging Face directories, local or downloaded from the hub by id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.fingerprint import fingerprint
from clawjax.models.registry import architecture_from_config
from clawjax.models.template import ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

__all__ = ["HuggingFaceSource", "cached", "download", "is_hub_id"]

_TEXT_PATTERNS = ("*.json", "*.jinja")
_WEIGHT_PATTERNS = ("model*.safetensors",)
_FLOATS = ("F32", "F16", "BF16")
_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")


class HuggingFaceSource:
    """A directory with config.json, tokenizer.json and safetensors."""

    def __init__(self, directory: Path) -> None:
        """Read the configuration.

        Raises:
            ConfigError: config.json is missing or not JSON.
        """
        self._directory = directory
        self._config = _read_json(directory / "config.json")

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory

    def weight_files(self) -> list[Path]:
        """The safetensors files that make up the weights.

        Raises:
            ConfigError: one is missing.
        """
        return _weight_files(self._directory)

    def base_id(self) -> str:
        """Family and fingerprint: where the files lie does not matter."""
        return f"{self._config.get('model_type')}@{fingerprint(_weight_files(self._directory))}"

    def architecture(self) -> Architecture:
        """The shape that config.json describes."""
        return architecture_from_config(self._config)

    def tokenizer(self) -> ChatTokenizer:
        """The tokenizer and template beside the weights."""
        return _tokenizer(self._directory, self._config)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Weights, read when asked for."""
        return _Tensors(_weight_files(self._directory))


class _Tensors(Mapping[str, "np.ndarray"]):
    """The tensors of several safetensors files as fp32; holds none of them."""

    def __init__(self, paths: list[Path]) -> None:
        import ml_dtypes  # noqa: F401 - numpy learns of bfloat16 by it
        from safetensors import SafetensorError, safe_open

        self._files: dict[str, Any] = {}
        for path in paths:
            try:
                file = safe_open(path, framework="np")
            except SafetensorError as error:
                msg = f"{path} is not a safetensors file ({error}): download it again"
                raise ConfigError(msg) from error
            self._files |= dict.fromkeys(file.keys(), file)

    def __getitem__(self, name: str) -> np.ndarray:
        self._check(name)
        return self._files[name].get_tensor(name).astype("float32")

    def __contains__(self, name: object) -> bool:
        """Without reading it, as a mapping's own would."""
        return name in self._files

    def _check(self, name: str) -> None:
        kind = self._files[name].get_slice(name).get_dtype()
        if kind not in _FLOATS:
            msg = f"tensor {name!r} is stored as {kind}: only {', '.join(_FLOATS)} can be read"
            raise ConfigError(msg)

    def shape(self, name: str) -> tuple[int, ...]:
        """From the file's header."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def part(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Some of a tensor; nothing else of it is read."""
        self._check(name)
        return self._files[name].get_slice(name)[index].astype("float32")

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def is_hub_id(text: str) -> bool:
    """Whether `text` is of the form `owner/name`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", text) is not None and not text.startswith(".")


def cached(hub_id: str, revision: str | None) -> Path | None:
    """The local snapshot with its weights, without asking the hub; None where it is not here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return found if any(found.glob("model*.safetensors")) else None


def download(hub_id: str, revision: str | None, *, with_weights: bool) -> Path:
    """The local snapshot of a hub model, downloaded where it is not cached.

    Raises:
        ConfigError: unknown or gated model, or no network and nothing in the cache.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = [*_TEXT_PATTERNS, *(_WEIGHT_PATTERNS if with_weights else ())]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        msg = (
            f"model.path={hub_id!r} cannot be downloaded from the hub ({_first_line(error)}): "
            "check the id, the network and, for a gated model, HF_TOKEN, or give a local directory"
        )
        raise ConfigError(msg) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _weight_files(directory: Path) -> list[Path]:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        paths = [directory / name for name in names]
    else:
        paths = [directory / "model.safetensors"]
    for path in paths:
        if not path.is_file():
            msg = (
                f"{path} does not exist: give a directory with safetensors weights "
                "(convert other formats first)"
            )
            raise ConfigError(msg)
    return paths


def _tokenizer(directory: Path, config: Mapping[str, Any]) -> ChatTokenizer:
    path = directory / "tokenizer.json"
    if not path.is_file():
        msg = f"{path} does not exist: give a directory with a fast tokenizer"
        raise ConfigError(msg)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare exceptions
        msg = f"{path} cannot be read ({_first_line(error)}): download it again"
        raise ConfigError(msg) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    settings = _read_optional_json(directory / "tokenizer_config.json")
    templates = _templates(directory, settings)
    template = ChatTemplate(
        templates["default"], _named_tokens(settings), with_tools=templates.get("tool_use")
    )
    eos_ids = _eos_ids(directory, config, settings, tokenizer)
    return ChatTokenizer(tokenizer, template, eos_ids=eos_ids)


def _templates(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """By name: `default`, and `tool_use` where conversations with tools have one of their own."""
    path = directory / "chat_template.jinja"
    if path.is_file():
        more = directory.glob("additional_chat_templates/*.jinja")
        templates = {file.stem: file.read_text(encoding="utf-8") for file in more}
        return templates | {"default": path.read_text(encoding="utf-8")}
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}
    templates: dict[str, str] = found if isinstance(found, dict) else {"default": found or ""}
    if not templates.get("default"):
        msg = (
            f"{directory} has no chat template: use an instruct model, or put a "
            "chat_template.jinja beside its weights"
        )
        raise ConfigError(msg)
    return templates


def _named_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The tokens that a template may mention by their role."""
    texts = {role: _text(settings.get(role)) for role in _ROLES}
    return {role: text for role, text in texts.items() if text is not None}


def _text(token: str | Mapping[str, Any] | None) -> str | None:
    return token["content"] if isinstance(token, Mapping) else token


def _eos_ids(
    directory: Path, config: Mapping[str, Any], settings: Mapping[str, Any], tokenizer: Tokenizer
) -> frozenset[int]:
    """All that config, generation config and tokenizer config name."""
    generation = _read_optional_json(directory / "generation_config.json")
    ids: set[int | None] = set()
    for value in (config.get("eos_token_id"), generation.get("eos_token_id")):
        ids |= set(value) if isinstance(value, list) else {value}
    eos_text = _text(settings.get("eos_token"))
    ids.add(None if eos_text is None else tokenizer.token_to_id(eos_text))
    return frozenset(index for index in ids if index is not None)


def _read_optional_json(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): give a Hugging Face model directory"
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f"{path} is not valid JSON ({error}): download it again"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is not a JSON object: download it again"
        raise ConfigError(msg)
    return content
