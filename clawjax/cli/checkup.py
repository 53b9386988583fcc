"""What `clawjax doctor` looks at: one function per thing, each with one finding.

Invariant: nothing is changed but in a temporary folder, every wait has a time-out, and what is
found wrong comes with the fix.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from clawjax.cli.run_config import other_run, read_health
from clawjax.config import LlmJudgeConfig, RunConfig
from clawjax.config.databases import file_url
from clawjax.config.hosts import is_loopback, port_to_listen_at
from clawjax.config.secrets import bearer, read_key
from clawjax.errors import ClawError, ConfigError
from clawjax.keys import KEY_FILE, KeyFile

__all__ = [
    "Finding",
    "Grade",
    "check_devices",
    "check_disk",
    "check_itself",
    "check_judge",
    "check_keys",
    "check_model",
    "check_port",
    "check_versions",
]

_PACKAGES = ("clawjax", "jax", "jaxlib", "sqlalchemy", "starlette", "uvicorn", "tokenizers")
_OLDEST_PYTHON = (3, 11)
_LITTLE_DISK = 2 * 2**30
_JUDGE_TIMEOUT_S = 3.0
_MOST_BYTES = 2**20
"""Of a list of models."""
_MOST_NAMED = 5
_ALIAS = "policy"
"""By which clawjax's own endpoint knows what it serves, whatever that is called."""
_LONG_SELF_TEST_S = 5.0


class Grade(Enum):
    """How a thing is."""

    GOOD = "ok"
    DOUBTFUL = "note"
    WRONG = "WRONG"


class Finding(NamedTuple):
    """How a thing is, and why."""

    grade: Grade
    text: str


def check_versions(_: RunConfig) -> Finding:
    """Python and the packages that everything needs."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return Finding(Grade.WRONG, f"Python {python} is too old: use 3.11 or newer")
    found, missing = [f"Python {python}"], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding(Grade.WRONG, f"not installed: {', '.join(missing)}: run `pip install -e .`")
    return Finding(Grade.GOOD, ", ".join(found))


def check_devices(config: RunConfig) -> Finding:
    """What jax can compute on, without taking a GPU's memory, and whether a run's processes can."""
    import jax

    from clawjax.models import devices as sharing

    is_all_taken = sharing.takes_all_memory(os.environ)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        devices = jax.devices()
    except RuntimeError as error:
        return Finding(Grade.WRONG, f"jax finds no device: {error}")
    kinds = sorted({device.device_kind for device in devices})
    platform = jax.default_backend()
    text = f"{len(devices)} x {', '.join(kinds)} ({platform})"
    if sharing.expects_tpu(os.environ) and platform != "tpu":
        why = "a process holds the TPU, or this one may not open it"
        return Finding(Grade.DOUBTFUL, f"{text}: {why}; JAX_PLATFORMS=tpu,cpu says which")
    if config.engine.kind == "embedded" and platform == "tpu":
        return Finding(Grade.WRONG, f"{text}: {sharing.ONE_PROCESS_A_CHIP}")
    if config.engine.kind == "embedded" and platform == "gpu" and is_all_taken:
        return Finding(Grade.DOUBTFUL, f"{text}: {sharing.SHARED_MEMORY}")
    return Finding(Grade.GOOD, text)


def check_port(config: RunConfig) -> Finding:
    """Whether the endpoint can listen, or does."""
    host, port = config.gateway.host, config.gateway.port
    if (health := read_health(config)) is not None:
        if (other := other_run(health, config)) is None:
            return Finding(Grade.GOOD, f"clawjax answers on {host}:{port}")
        text = f"the run {other} answers on {host}:{port}: stop it, or set gateway.port"
        return Finding(Grade.DOUBTFUL, text)
    try:
        port_to_listen_at(host, port)
    except OSError as error:
        why = error.strerror
        text = f"{host}:{port} cannot be used ({why}): stop what listens there, or set gateway.port"
        return Finding(Grade.WRONG, text)
    return Finding(Grade.GOOD, f"{host}:{port} is free")


def check_disk(config: RunConfig) -> Finding:
    """Whether the run's folder has room and can be written."""
    folder = Path(config.run.dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding(Grade.WRONG, f"{folder} cannot be written: fix its permissions")
    text = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _LITTLE_DISK:
        return Finding(Grade.DOUBTFUL, f"{text}: make room, each version and checkpoint takes some")
    return Finding(Grade.GOOD, text)


def check_model(config: RunConfig) -> Finding:
    """Whether the model's tokenizer and shape can be read; nothing is downloaded."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from clawjax.models.huggingface import is_hub_id
    from clawjax.models.load import load_tokenizer

    path = config.model.path
    try:
        tokenizer, _, _ = load_tokenizer(config.model)
    except (ClawError, OSError) as error:
        is_to_come = is_hub_id(path) and not Path(path).exists()
        text = f"model.path={path}: {error}"
        return Finding(Grade.DOUBTFUL if is_to_come else Grade.WRONG, text)
    return Finding(Grade.GOOD, f"{config.model.path}: {tokenizer.vocab_size} tokens known")


def check_keys(config: RunConfig) -> Finding:
    """Whether those who can reach the endpoint need a key."""
    file = KeyFile(Path(config.run.dir) / KEY_FILE)
    try:
        keys, has_variable = file.read(), read_key(config.gateway.api_key_env) is not None
    except ConfigError as error:
        return Finding(Grade.WRONG, str(error))
    live = sum(key.revoked_at is None for key in keys)
    if keys and stat.S_IMODE(file.path.stat().st_mode) & 0o077:
        return Finding(Grade.DOUBTFUL, f"others may read {file.path}: chmod 600 it")
    if not live and not has_variable:
        is_local = is_loopback(config.gateway.host)
        text = f"none; gateway.host={config.gateway.host}"
        if keys:
            text = "all are revoked, so nobody may ask: `clawjax keys create RUN --name NAME`"
            return Finding(Grade.DOUBTFUL if is_local else Grade.WRONG, text)
        if is_local:
            return Finding(Grade.DOUBTFUL, f"{text}: whoever uses this machine may ask")
        return Finding(Grade.WRONG, f"{text} needs one: `clawjax keys create RUN --name NAME`")
    variable = f", one in {config.gateway.api_key_env}" if has_variable else ""
    return Finding(Grade.GOOD, f"{live} live in {KEY_FILE}{variable}")


def check_judge(config: RunConfig) -> Finding:
    """Whether the judging model's endpoint answers, where one is used."""
    if not config.reward.asking_modules:
        return Finding(Grade.GOOD, f"{', '.join(config.reward.modules)}: no endpoint is needed")
    judge = config.reward.llm_judge
    try:
        headers = bearer(read_key(judge.api_key_env))
    except ConfigError as error:
        return Finding(Grade.WRONG, str(error))
    url = f"{judge.base_url.rstrip('/')}/models"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http, by LlmJudgeConfig
    try:
        with urllib.request.urlopen(request, timeout=_JUDGE_TIMEOUT_S) as answer:  # noqa: S310 - see there
            served = _listed(answer.read(_MOST_BYTES))
            return _serving(judge, answer.status, served)
    except urllib.error.HTTPError as error:
        return _refusing(judge, error.code)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        return Finding(
            Grade.WRONG,
            f"{judge.base_url} does not answer ({why}): start it, or set reward.llm_judge.base_url",
        )


def _serving(judge: LlmJudgeConfig, status: int, served: Sequence[str]) -> Finding:
    text = f"{judge.base_url} answers ({status})"
    if not served or judge.model in (*served, _ALIAS):
        return Finding(Grade.GOOD, text)
    named = ", ".join(served[:_MOST_NAMED])
    why = f"and lists {named}, not reward.llm_judge.model={judge.model}: set it to what is there"
    return Finding(Grade.DOUBTFUL, f"{text} {why}")


def _refusing(judge: LlmJudgeConfig, code: int) -> Finding:
    """What an error means of somebody who was asked for their models."""
    if code in (401, 403):
        text = f"{judge.base_url} refuses the key in {judge.api_key_env}: set the right one"
        return Finding(Grade.WRONG, text)
    text = f"{judge.base_url} answers ({code})"
    if code == http.client.NOT_FOUND:
        text += " and has no list of models there: does its address end with /v1?"
    elif code >= http.client.INTERNAL_SERVER_ERROR:
        text += ": it is there and cannot be asked now; its own log says why"
    else:
        return Finding(Grade.GOOD, text)
    return Finding(Grade.DOUBTFUL, text)


def _listed(body: bytes) -> list[str]:
    """The models of an OpenAI-compatible list; none where it is another body."""
    try:
        return [str(each["id"]) for each in json.loads(body)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def check_itself(_: RunConfig) -> Finding:
    """Compute a gradient, write and read a turn log, publish and load weights."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clawjax-doctor-") as folder:
        try:
            _try_computing()
            _try_log(Path(folder))
            _try_weights(Path(folder))
        except (ClawError, OSError, ArithmeticError, RuntimeError) as error:
            return Finding(Grade.WRONG, f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - began
    text = f"computing, turn log and weight store work ({seconds:.1f} s)"
    if seconds > _LONG_SELF_TEST_S:
        return Finding(Grade.DOUBTFUL, f"{text}: slow, is the machine busy?")
    return Finding(Grade.GOOD, text)


def _try_computing() -> None:
    """The gradient of sum(x^2) is 2x."""
    import jax
    import jax.numpy as jnp

    def squares(x: jax.Array) -> jax.Array:
        return jnp.sum(x * x)

    x = jnp.arange(8, dtype=jnp.float32)
    gradient = jax.jit(jax.grad(squares))(x)
    if not bool(jnp.all(gradient == 2 * x)):
        msg = f"the gradient of sum(x^2) at {x} came out as {gradient}"
        raise ArithmeticError(msg)


def _try_log(folder: Path) -> None:
    from clawjax.log.store import SqlTurnLog

    log = SqlTurnLog.open(file_url(folder / "turns.db"))
    try:
        log.count("doctor", 2)
        if log.counters() != {"doctor": 2}:
            msg = f"the turn log counted to 2 and has {log.counters()}"
            raise RuntimeError(msg)
    finally:
        log.close()


def _try_weights(folder: Path) -> None:
    import numpy as np

    from clawjax.weights import DirectoryWeightStore

    store = DirectoryWeightStore(folder / "weights")
    made = np.arange(8, dtype=np.float32)
    store.publish(
        {"weight": made}, version=1, parent=0, step=1, base_model="none", kind="full", config={}
    )
    _, tensors = store.load(1)
    if not np.array_equal(tensors["weight"], made):
        msg = "weights came back other than they were published"
        raise RuntimeError(msg)
