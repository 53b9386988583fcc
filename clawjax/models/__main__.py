"""Export trained weights for other programs.

    python -m clawjax.models export --weights runs/mine/weights/000042 --out exported
    python -m clawjax.models export --weights runs/mine/weights/000042 --out adapter --adapter

The first writes a whole Hugging Face model that transformers loads, the second a peft adapter,
each into a directory of its own. Without `--weights` the model itself is written, which turns a
GGUF file into safetensors.

An adapter names the model that it belongs to as `--model` does, a directory by its whole path;
`--base` gives it another name. peft finds no base in a GGUF file: write the model first, without
`--weights`, and name that directory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clawjax.config import LoraConfig, ModelConfig
from clawjax.errors import ConfigError, StoreError
from clawjax.models.load import LoadedModel, base_name, load_model
from clawjax.models.peft import read_plain_lora

if TYPE_CHECKING:
    import numpy as np

    from clawjax.models.transformer import Params

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where the arguments cannot be satisfied."""
    options = _parse(arguments)
    logging.basicConfig(format="%(message)s")  # of libraries, warnings
    logger.setLevel(logging.INFO)
    try:
        _export(options)
    except (ConfigError, StoreError) as error:
        logger.error("%s", error)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write weights for other programs")
    export.add_argument("--model", default=ModelConfig().path, help="as model.path")
    export.add_argument("--weights", type=Path, help="a published version or a peft directory")
    export.add_argument("--out", type=Path, required=True, help="directory to write")
    export.add_argument("--adapter", action="store_true", help="write the adapter, not a model")
    export.add_argument("--base", help="of --adapter: what its configuration calls the base model")
    export.add_argument("--seed", type=int, default=0, help="of a random: model")
    return parser.parse_args(arguments)


def _export(options: argparse.Namespace) -> None:
    from clawjax.models.export import export_adapter, export_merged

    if options.base is not None and not options.adapter:
        msg = "--base is of --adapter and does nothing here: leave it out"
        raise ConfigError(msg)
    model = load_model(_serving_config(options.model), seed=options.seed)
    if options.weights is not None:
        _require_own(options.weights, model.base_id)
    if options.adapter:
        adapter, config = _read_adapter(options.weights)
        base = options.base or base_name(options.model)
        export_adapter(options.out, adapter, config, base)
        logger.info("base model: %s", base)
    else:
        export_merged(options.out, model, _trained(model, options.weights))
    logger.info("written to %s", options.out)


def _require_own(weights: Path, base_id: str) -> None:
    """A published version says what it was trained from, and what its files were.

    Raises:
        ConfigError: it is of another model, or a file is not as it was published.
    """
    file = weights / "manifest.json"
    if not file.is_file():
        return
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        base, files = manifest["base_model"], manifest["files"]
        published = {name: described["sha256"] for name, described in files.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{file} is no manifest ({error}): export another version"
        raise ConfigError(msg) from error
    if base != base_id:
        msg = f"{weights} was trained from {base}, --model is {base_id}: name that model"
        raise ConfigError(msg)
    for name, expected in published.items():
        if _digest(weights / name) != expected:
            msg = f"{weights / name} is not as it was published: export another version"
            raise ConfigError(msg)


def _digest(file: Path) -> str | None:
    """Of its content; None where there is no such file."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _serving_config(path: str) -> ModelConfig:
    """The shortest context: how long it is has no bearing on the weights."""
    return ModelConfig(path=path, context_length=64)


def _trained(model: LoadedModel, weights: Path | None) -> Params:
    """The model's parameters with `weights` put on or in their place."""
    from clawjax.models.export import tensors_to_params
    from clawjax.models.lora import merge

    if weights is None:
        return model.params
    if (weights / "model.safetensors").is_file():
        return tensors_to_params(_tensors(weights / "model.safetensors"), model.architecture)
    adapter, config = _read_adapter(weights)
    try:
        return merge(model.params, adapter, config)
    except (KeyError, TypeError) as error:
        msg = f"{weights} does not fit the model: name the model it was trained from ({error})"
        raise ConfigError(msg) from error


def _read_adapter(weights: Path | None) -> tuple[Params, LoraConfig]:
    from clawjax.models.lora import adapter_from_tensors

    if weights is None:
        msg = "--adapter needs --weights: name a published version that holds an adapter"
        raise ConfigError(msg)
    found = read_plain_lora(weights / "adapter_config.json")
    if not found.targets:
        msg = f"{weights}: its target_modules are no list of names: write them as a list"
        raise ConfigError(msg)
    config = LoraConfig(rank=found.rank, alpha=found.alpha, targets=[*found.targets])
    return adapter_from_tensors(_tensors(weights / "adapter_model.safetensors")), config


def _tensors(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path} cannot be read ({error}): is it complete?"
        raise ConfigError(msg) from error


if __name__ == "__main__":
    sys.exit(main())
