"""Where arrays lie on a mesh of devices: the one table of rules, and the placement by them.

A mesh has three axes. `data` and `fsdp` divide the rows of a batch, `fsdp` the weights besides,
`tensor` the heads, the feed-forward's width and the vocabulary. Weights are found by name, so the
optimiser's moments and adapters lie as the weights they are of. Invariants: where something lies
changes no result beyond rounding; a placement without a mesh does nothing at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax import Array
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from clawjax.config import MeshConfig
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture

__all__ = ["AXES", "ROWS", "RULES", "Placement", "build_mesh"]

Tree = TypeVar("Tree")
AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")
"""Axes over which the rows of a batch are divided."""

_Rules = tuple[tuple[str, Spec], ...]
_INTO = "q_proj|k_proj|v_proj|gate_proj|up_proj|lm_head"
"""Layers whose outputs are divided over `tensor`; the other ones' inputs are."""
_DECODER: _Rules = (
    (r"embed_tokens/embedding", Spec("tensor", "fsdp")),
    (rf"({_INTO})/kernel", Spec("fsdp", "tensor")),
    (rf"({_INTO})/kernel_lora_a", Spec("fsdp", None)),
    (rf"({_INTO})/kernel_lora_b", Spec(None, "tensor")),
    (r"(q_proj|k_proj|v_proj)/bias", Spec("tensor")),
    (r"(o_proj|down_proj)/kernel", Spec("tensor", "fsdp")),
    (r"(o_proj|down_proj)/kernel_lora_a", Spec("tensor", None)),
    (r"(o_proj|down_proj)/kernel_lora_b", Spec(None, "fsdp")),
    (r"o_proj/bias", Spec(None)),
    (r"\w*norm/weight", Spec(None)),
)
RULES: Mapping[str, _Rules] = {"llama": _DECODER, "qwen2": _DECODER, "qwen3": _DECODER}
"""By family: the end of a parameter's path, and its division. The first that fits counts."""
_STACKED = re.compile(r"(^|/)layers/")
"""In paths of leaves that have all layers along their first axis, which is not divided."""
_KEYS_AND_VALUES = re.compile(r"(k_proj|v_proj)/\w+$")


def build_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh | None:
    """The mesh that is asked for; None for a single device.

    Args:
        config: devices along each axis.
        devices: all of all processes by default; the first ones are used.

    Raises:
        ConfigError: there are fewer, or they cannot be divided so.
    """
    sizes = config.sizes()
    if set(sizes.values()) == {1}:
        return None
    devices = jax.devices() if devices is None else devices
    asked = " x ".join(f"{name}={size}" for name, size in sizes.items())
    fixed = math.prod(size for size in sizes.values() if size != -1)
    has_rest = -1 in sizes.values()
    if fixed > len(devices) or (has_rest and len(devices) % fixed):
        msg = (
            f"learner.mesh ({asked}) takes {'a multiple of ' if has_rest else ''}{fixed} devices, "
            f"there are {len(devices)}: lower an axis or add devices"
        )
        raise ConfigError(msg)
    left = len(devices) // fixed
    shape = [left if size == -1 else size for size in sizes.values()]
    if math.prod(shape) == 1:
        return None
    if jax.process_count() > 1 and math.prod(shape) != len(devices):
        msg = (
            f"learner.mesh ({asked}) takes {fixed} of the {len(devices)} devices of "
            f"{jax.process_count()} processes, which would leave some without work: use all"
        )
        raise ConfigError(msg)
    kinds = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(shape, AXES, kinds, devices=devices[: math.prod(shape)])


@dataclass(frozen=True)
class Placement:
    """Puts one model's arrays on a mesh, and keeps them there while they are computed with.

    Equal placements share compiled programs.
    """

    architecture: Architecture
    mesh: Mesh | AbstractMesh | None = None
    """None is the default device."""

    @classmethod
    def of(cls, config: MeshConfig, architecture: Architecture) -> Placement:
        """As configured.

        Raises:
            ConfigError: too few devices, or a model that cannot be divided so.
        """
        return cls(architecture, build_mesh(config))

    def __post_init__(self) -> None:
        """Refuse a model that the mesh does not divide."""
        arch = self.architecture
        for axis, what, length in (
            ("tensor", "heads", arch.num_heads),
            ("tensor", "feed-forward width", arch.intermediate_size),
            ("fsdp", "hidden size", arch.hidden_size),
        ):
            size = self.size(axis)
            if length % size:
                fits = [n for n in range(1, size) if length % n == 0]
                msg = (
                    f"learner.mesh.{axis}={size} does not divide the model's {what} of {length}: "
                    f"use {', '.join(map(str, fits))}, or more devices on another axis"
                )
                raise ConfigError(msg)

    @property
    def shards(self) -> int:
        """Parts that rows are divided into; how many rows there are has to be a multiple."""
        return math.prod(self.size(axis) for axis in ROWS)

    def size(self, axis: str) -> int:
        """Devices along an axis."""
        return 1 if self.mesh is None else self.mesh.shape[axis]

    def spec(self, name: str, shape: Sequence[int]) -> Spec:
        """How the rules divide the leaf `name`, a path with slashes.

        A dimension that an axis does not divide evenly stays whole, as do keys and values where
        there are fewer heads of them than devices along `tensor`.

        Raises:
            ConfigError: a leaf that no rule knows.
        """
        if not shape or name == "rng":
            return Spec()
        rules = RULES[self.architecture.family]
        found = next((s for rule, s in rules if re.search(rf"(^|/){rule}$", name)), None)
        if found is None:
            msg = f"{name} {list(shape)} has no rule in clawjax.models.sharding: add one"
            raise ConfigError(msg)
        axes: list[Any] = [None, *found] if _STACKED.search(name) else [*found]
        if _KEYS_AND_VALUES.search(name) and self.architecture.num_kv_heads % self.size("tensor"):
            axes = [None if axis == "tensor" else axis for axis in axes]
        return Spec(
            *(
                axis if axis is not None and length % self.size(axis) == 0 else None
                for axis, length in zip(axes, shape, strict=True)
            )
        )

    def sharding(self, name: str, shape: Sequence[int]) -> NamedSharding:
        """Where the leaf `name` lies; only with a mesh."""
        return self._sharding(self.spec(name, shape))

    def shardings(self, tree: Any) -> Any:
        """Of each leaf of a tree of arrays or shapes; only with a mesh."""
        assert self.mesh is not None
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self.sharding(_name(path), leaf.shape), tree
        )

    def place(self, tree: Tree) -> Tree:
        """Move weights, an adapter or a train state to where they belong."""
        if self.mesh is None:
            return tree
        return jax.tree.map(_put, tree, self.shardings(tree))

    def place_rows(self, tree: Tree) -> Tree:
        """Divide arrays `[B, ...]` of the host by rows; B has to be a multiple of `shards`."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: _put(leaf, self._sharding(Spec(ROWS))), tree)

    def everywhere(self, tree: Tree) -> Tree:
        """Give every device all of it."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: _put(leaf, self._sharding(Spec())), tree)

    def made(self, function: Callable[..., Tree], *arguments: Any) -> Tree:
        """What a function makes of arrays, each leaf made where it belongs."""
        if self.mesh is None:
            return function(*arguments)
        shardings = self.shardings(jax.eval_shape(function, *arguments))
        return jax.jit(function, out_shardings=shardings)(*arguments)

    # While tracing.

    def kept(self, tree: Tree) -> Tree:
        """Weights or their gradients, left as the rules divide them."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

    def gathered(self, weights: Tree) -> Tree:
        """Weights as a layer computes with them: no longer divided over `fsdp`.

        Their gradients are divided again as soon as they are known.
        """
        if self.mesh is None:
            return weights

        def gather(path: Any, leaf: Array) -> Array:
            kept = self.spec(_name(path), leaf.shape)
            used = Spec(*(None if axis == "fsdp" else axis for axis in kept))
            return _gathered(leaf, self._sharding(kept), self._sharding(used))

        return jax.tree_util.tree_map_with_path(gather, weights)

    def by_rows(self, x: Array) -> Array:
        """`[B, ...]` divided by rows; whole on every device where B does not allow it."""
        if self.mesh is None:
            return x
        spec = Spec() if x.shape[0] % self.shards else Spec(ROWS)
        return jax.lax.with_sharding_constraint(x, self._sharding(spec))

    def whole(self, tree: Tree) -> Tree:
        """The same on every device, and so within every process's reach."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._sharding(Spec()))

    def _sharding(self, spec: Spec) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, spec)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    """Place one array; where processes share the mesh, each has the whole and places its part."""
    if isinstance(leaf, Array) and leaf.sharding == sharding:
        return leaf
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, Array) and not leaf.is_fully_addressable:
        return _moved(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _moved(leaf: Array, sharding: NamedSharding) -> Array:
    """Between processes, as a computation that all of them run."""
    return jax.jit(_identity, out_shardings=sharding)(leaf)


def _identity(leaf: Array) -> Array:
    return leaf


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(leaf: Array, kept: NamedSharding, used: NamedSharding) -> Array:
    return jax.lax.with_sharding_constraint(leaf, used)


def _gathered_forward(leaf: Array, kept: NamedSharding, used: NamedSharding) -> tuple[Array, None]:
    return _gathered(leaf, kept, used), None


def _gathered_backward(
    kept: NamedSharding, used: NamedSharding, _: None, cotangent: Array
) -> tuple[Array]:
    return (jax.lax.with_sharding_constraint(cotangent, kept),)


_gathered.defvjp(_gathered_forward, _gathered_backward)
