"""Knobs of the devices that a learner runs on, and of how these compute."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawjax.config.checks import at_least, at_least_or_null, require

__all__ = ["AttentionKernel", "ComputeDtype", "DistributedConfig", "MeshConfig", "Remat"]


@dataclass
class MeshConfig:
    """How many devices share what; -1 or null is as many as are left, for one axis at most.

    One device, 1 x 1 x 1, is no mesh: nothing is sharded and nothing is paid for.
    """

    data: int | None = 1
    """Divides the rows of a batch; every device has all weights."""
    fsdp: int | None = 1
    """Divides rows and weights; a layer's are gathered while it is computed."""
    tensor: int | None = 1
    """Divides every layer: heads, the feed-forward's width, the vocabulary."""

    def __post_init__(self) -> None:
        """Reject meshes without devices, and those of which too much is left open."""
        for name, size in self.sizes().items():
            require(
                size == -1 or size >= 1,
                f"learner.mesh.{name}={size} is no number of devices: use 1 or more, or -1 for "
                "what is left",
            )
        is_open = [name for name, size in self.sizes().items() if size == -1]
        require(
            len(is_open) <= 1,
            f"learner.mesh leaves {' and '.join(is_open)} open: set all of them but one",
        )

    @property
    def is_one_device(self) -> bool:
        """Whether no axis can have more than one."""
        return set(self.sizes().values()) == {1}

    def __str__(self) -> str:
        """As messages name it."""
        return " x ".join(f"{name}={size}" for name, size in self.sizes().items())

    def sizes(self) -> dict[str, int]:
        """Devices along each axis, in the mesh's order; -1 is what is left."""
        sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        return {name: -1 if size is None else size for name, size in sizes.items()}


@dataclass
class DistributedConfig:
    """Several processes, one learner: the first decides, logs and publishes, all of them compute.

    What is null is found out from Slurm, Kubernetes, Open MPI or a TPU's metadata.
    """

    enabled: bool = False
    coordinator: str | None = None
    """`host:port` of the first process, which all reach."""
    processes: int | None = None
    process_id: int | None = None
    """From 0."""
    timeout_s: float = 300.0
    """How long the processes wait for one another at the start."""
    silence_timeout_s: float = 60.0
    """After so long without a sign of life a process counts as gone, and all others end. One whose
    connections break, as a killed one's do, is missed within seconds."""

    def __post_init__(self) -> None:
        """Reject groups that cannot come together."""
        at_least("learner.distributed.timeout_s", self.timeout_s, 1.0)
        at_least("learner.distributed.silence_timeout_s", self.silence_timeout_s, 5.0)
        at_least_or_null("learner.distributed.processes", self.processes, 1)
        if self.process_id is not None:
            count = self.processes
            require(
                self.process_id >= 0 and (count is None or self.process_id < count),
                f"learner.distributed.process_id={self.process_id} is out of range: "
                f"learner.distributed.processes={count} counts from 0",
            )
        given = (self.coordinator, self.processes, self.process_id)
        require(
            all(value is None for value in given) or None not in given,
            f"learner.distributed.coordinator={self.coordinator}, learner.distributed.processes="
            f"{self.processes} and learner.distributed.process_id={self.process_id} belong "
            "together: give all three, or none to have them found out",
        )


class AttentionKernel(StrEnum):
    """How attention is computed while training."""

    auto = "auto"
    """What suits the platform: splash on a TPU, cudnn on a GPU in 16 bits, xla elsewhere."""
    xla = "xla"
    splash = "splash"
    cudnn = "cudnn"


class ComputeDtype(StrEnum):
    """In what layers compute; what is trained, its moments, log-probs and losses are fp32 always.

    In bfloat16 a micro-batch's gradients are rounded to that, and summed up in fp32. Float32 is the
    type of arrays: with how many bits a TPU or a GPU multiplies them jax's default says, unless
    `JAX_DEFAULT_MATMUL_PRECISION=highest` is in the environment.
    """

    float32 = "float32"
    bfloat16 = "bfloat16"


class Remat(StrEnum):
    """What a layer keeps of its forward pass for its gradient; the rest is computed again."""

    none = "none"
    """Everything."""
    dots = "dots"
    """The products with its weights."""
    full = "full"
    """Nothing but what came in."""
