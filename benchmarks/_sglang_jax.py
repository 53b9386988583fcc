"""The real sglang-jax on a CPU, as `clawjax.engine.sglang_jax` starts it, with a tiny random model.

Its environment is one of its own (Python 3.12): `uv venv --python 3.12 DIR`, then `uv pip install
--python DIR/bin/python` of a checkout of sgl-project/sglang-jax and jax for the CPU.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _engine_servers import until_answering
from safetensors.numpy import save_file

from clawjax.engine import sglang_jax
from clawjax.engine.sglang.launch import tethered
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.models.registry import config_from_architecture
from clawjax.models.tiny import tiny_tokenizer
from clawjax.testing import free_port

__all__ = ["running_sglang_jax", "write_model"]

_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 30.0

_ARCH = Architecture(  # the native attention of sglang-jax wants heads of 128
    family="qwen3",
    vocab_size=tiny_tokenizer().vocab_size,
    hidden_size=256,
    intermediate_size=512,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=128,
    max_positions=4096,
    norm_eps=1e-6,
    is_tied=False,
    has_qk_norm=True,
)
_ON_A_CPU = (
    "--device=cpu", "--dtype=float32", "--attention-backend=native", "--page-size=16",
    "--max-prefill-tokens=64", "--chunked-prefill-size=64", "--precompile-token-paddings=64",
    "--mem-fraction-static=0.3", "--skip-server-warmup",
)  # fmt: skip


def write_model(directory: Path, seed: int) -> Path:
    """A directory as Hugging Face has them: two layers of Qwen3 with random weights."""
    rng = np.random.default_rng(seed)
    tensors = {
        leaf.tensor: (
            np.ones(leaf.shape) if len(leaf.shape) == 1 else rng.normal(0, 0.06, leaf.shape)
        ).astype(np.float32)
        for leaf in leaves(_ARCH)
    }
    directory.mkdir()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = config_from_architecture(_ARCH) | {"bos_token_id": 0, "eos_token_id": 2}
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer = tiny_tokenizer()
    tokenizer.save(directory)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


@contextmanager
def running_sglang_jax(
    python: str, model: Path, log: Path, *, options: Sequence[str] = ()
) -> Generator[str]:
    """Its address, once it answers.

    Args:
        python: the interpreter of an environment that has sglang-jax.
        model: what it loads.
        log: where its output goes.
        options: further ones.

    Raises:
        RuntimeError: it ends before, or takes ten minutes; with what it had to say.
    """
    port = free_port()
    command = [
        python, str(sglang_jax.__file__), f"--model-path={model}", "--host=127.0.0.1",
        f"--port={port}", *_ON_A_CPU, *options,
    ]  # fmt: skip
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered(command), stdout=output, stderr=output, env=variables, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until_answering(url, process, log, path="/get_model_info", timeout_s=_START_TIMEOUT_S)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its scheduler is a process beside it
        process.wait(_STOP_TIMEOUT_S)
