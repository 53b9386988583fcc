"""Which devices a process computes on, and whether the processes of a run can share them.

Invariants: asking whether a machine has a TPU or a GPU starts no backend, so it claims none of it;
a process that should have had an accelerator never computes on the processor instead.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from clawjax.errors import ConfigError

__all__ = [
    "ONE_PROCESS_A_CHIP",
    "SHARED_MEMORY",
    "expects_gpu",
    "expects_tpu",
    "say_devices",
    "takes_all_memory",
]

logger = logging.getLogger(__name__)

ONE_PROCESS_A_CHIP = (
    "engine.kind=embedded serves and the learner trains in two processes, but a TPU's chips belong "
    "to one process at a time: use engine=sglang_launch or engine=sglang on chips that the learner "
    "does not see (TPU_VISIBLE_CHIPS, as experiment=tpu_v5e_8 does it), or compute on the "
    "processor (JAX_PLATFORMS=cpu, hardware=cpu)"
)
SHARED_MEMORY = (
    "serving and learning are two processes on one GPU, and each takes three quarters of its "
    "memory at its start: set XLA_PYTHON_CLIENT_PREALLOCATE=false, or "
    "XLA_PYTHON_CLIENT_MEM_FRACTION to the share of either, 0.45 at most"
)
_TPU_NODES = ("accel[0-9]*", "vfio/[0-9]*")
"""Where the kernel shows a TPU's chips, older generations first."""
_CUDA_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")


def expects_tpu(variables: Mapping[str, str], *, dev: Path = Path("/dev")) -> bool:
    """Whether a process with these environment variables is to compute on a TPU.

    That is so where the machine shows chips, libtpu is installed, and JAX_PLATFORMS does not say
    otherwise.
    """
    has_library = "TPU_LIBRARY_PATH" in variables or importlib.util.find_spec("libtpu") is not None
    return has_library and _allows(variables, "tpu") and _has_any(dev, *_TPU_NODES)


def expects_gpu(variables: Mapping[str, str], *, dev: Path = Path("/dev")) -> bool:
    """Whether a process with these environment variables is to compute on a GPU of NVIDIA's."""
    is_allowed = _allows(variables, "cuda") or _allows(variables, "gpu")
    is_hidden = variables.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    has_plugin = any(_is_installed(name) for name in _CUDA_PLUGINS)
    return has_plugin and is_allowed and not is_hidden and _has_any(dev, "nvidia[0-9]*")


def takes_all_memory(variables: Mapping[str, str]) -> bool:
    """Whether jax takes most of a GPU's memory at its start, so that a second process finds none.

    https://docs.jax.dev/en/latest/gpu_memory_allocation.html
    """
    in_advance = variables.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower()
    is_limited = "XLA_PYTHON_CLIENT_MEM_FRACTION" in variables
    is_platform = variables.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower() == "platform"
    return in_advance not in ("false", "0") and not is_limited and not is_platform


def say_devices(role: str, *, used: int | None, is_tpu_expected: bool) -> None:
    """Start jax's backend, and log what this process computes on.

    Args:
        role: who computes, as the line begins.
        used: devices that it takes; None or more than there are for all.
        is_tpu_expected: as `expects_tpu` has it.

    Raises:
        ConfigError: a backend that this machine or JAX_PLATFORMS names did not start.
    """
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        msg = f"{role} has no device to compute on: {error}"
        raise ConfigError(msg) from error
    platform = jax.default_backend()
    if is_tpu_expected and platform != "tpu":
        msg = (
            f"{role} would compute on the {platform}, not on this machine's TPU "
            f"({_why_not('tpu')}): end the process that holds its chips, see that this one may "
            "open /dev/accel* or /dev/vfio, or set JAX_PLATFORMS=cpu where that is meant"
        )
        raise ConfigError(msg)
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    count = len(devices) if used is None else min(used, len(devices))
    logger.info("%s computes on %d of %d x %s (%s)", role, count, len(devices), kinds, platform)


def _why_not(platform: str) -> str:
    import jax

    try:
        jax.devices(platform)
    except RuntimeError as error:
        return str(error)
    return "another backend comes first"


def _allows(variables: Mapping[str, str], platform: str) -> bool:
    named = variables.get("JAX_PLATFORMS", "")
    return not named or platform in named.split(",")


def _has_any(dev: Path, *patterns: str) -> bool:
    return any(True for pattern in patterns for _ in dev.glob(pattern))


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
