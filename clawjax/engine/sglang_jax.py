"""sglang-jax with new weights on request: `python PATH/sglang_jax.py --model-path MODEL [options]`.

Runs in sglang-jax's own environment (Python 3.12) and imports nothing of clawjax, so that this file
alone can be copied to a TPU host. Takes sglang-jax's options, keeps the scheduler in the server's
process (`--enable-single-process`), and adds to its HTTP API what SGLang has and it has not
(sgl-project/sglang-jax#873): `POST /update_weights_from_disk`, and `weight_version` in
`GET /get_model_info` and in every reply's `meta_info`.

Invariants: a version is adopted whole, between two steps of the scheduler, or not at all; a tensor
goes where its name and its shape say, and one that fits nowhere refuses the version; unless the
client has paused the server `in_place`, nothing computed with older weights is found in its caches.
While a version is read, both the old and the new weights are on the devices: leave that much beside
`--mem-fraction-static`. One host only.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import re
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Move", "WeightsError", "canonical_path", "moves", "weight_files", "with_config"]

_ADOPT_TIMEOUT_S = 300.0
_SINGLE = "--enable-single-process"

_LINEAR = r"q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
RULES: tuple[tuple[str, str, bool], ...] = (
    (r"(.*\.)?(embed_tokens|lm_head)\.weight", "embedding", False),
    (r"(.*\.)?\w*norm\.weight", "scale", False),
    (rf"(.*\.)?({_LINEAR})\.weight", "weight", True),
    (rf"(.*\.)?({_LINEAR})\.bias", "bias", False),
)
"""Of tensors by Hugging Face's names: what sglang-jax calls the last part, and whether it holds the
transpose."""


class WeightsError(ValueError):
    """The directory's tensors are not those of the model that is served."""


class AdoptionError(RuntimeError):
    """Which weights the server has is not known."""


class Move(NamedTuple):
    """One tensor's way into the model's state."""

    tensor: str
    leaf: str
    is_transposed: bool


def moves(
    tensors: Mapping[str, Sequence[int]], leaves: Mapping[str, Sequence[int]]
) -> tuple[Move, ...]:
    """Where each tensor goes; every weight of the model gets exactly one.

    Args:
        tensors: shapes by Hugging Face's names.
        leaves: shapes of the model's state by path. Those that are no weights (tables of rotary
            positions, say) stay as they are.

    Raises:
        WeightsError: a tensor without a place, of another shape, or missing.
    """
    found = [_move(name, shape, leaves) for name, shape in tensors.items()]
    placed = tuple(move for move in found if move is not None)
    left = sorted(_weights(leaves) - {move.leaf for move in placed})
    if left:
        msg = f"no tensor is for {_named(left)}: give a directory with the whole model"
        raise WeightsError(msg)
    return placed


def canonical_path(keys: Iterable[Any]) -> str:
    """`model.layers.0.mlp.up_proj.weight` of a jax key path; wrappers' own fields are left out."""
    parts = (
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in keys
    )
    return ".".join(part for part in parts if part not in ("value", "raw_value"))


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model's directory.

    Raises:
        WeightsError: there is none.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        msg = f"{directory} has no safetensors files: give a Hugging Face model directory"
        raise WeightsError(msg)
    return files


def _move(name: str, shape: Sequence[int], leaves: Mapping[str, Sequence[int]]) -> Move | None:
    """None for a copy of the embedding table that the model does without."""
    rule = next((rule for rule in RULES if re.fullmatch(rule[0], name)), None)
    if rule is None:
        msg = (
            f"tensor {name!r} is of no kind that is known here: Llama, Qwen2 and Qwen3 can be read"
        )
        raise WeightsError(msg)
    _, last, is_transposed = rule
    leaf = name.rpartition(".")[0] + "." + last
    if leaf not in leaves:
        if leaf == "lm_head.embedding":
            return None
        msg = f"tensor {name!r} has no place in the model ({leaf!r}): serve its base model"
        raise WeightsError(msg)
    wanted = tuple(shape[::-1] if is_transposed else shape)
    if tuple(leaves[leaf]) != wanted:
        msg = (
            f"tensor {name!r} would become {list(wanted)}, the server holds "
            f"{list(leaves[leaf])}: serve its base model, with --tp-size at most the number of "
            "key heads and a head dimension that is not padded"
        )
        raise WeightsError(msg)
    return Move(name, leaf, is_transposed)


def _weights(leaves: Iterable[str]) -> set[str]:
    lasts = {last for _, last, _ in RULES}
    return {leaf for leaf in leaves if leaf.rpartition(".")[2] in lasts}


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


# From here on sglang-jax's environment.


@dataclass(frozen=True)
class _Adopt:
    """Sent to the scheduler, which runs it between two steps; what it takes waits in `_pending`."""

    number: int


@dataclass(frozen=True)
class _Pending:
    leaves: list[Any]
    stays_paused: bool
    done: Future[int]


class _Weights:
    """The served model's state: read anew in the server's threads, swapped in the scheduler's."""

    def __init__(self, scheduler: Any, tokenizer_manager: Any) -> None:
        worker = scheduler.tp_worker
        self._runner = getattr(worker, "worker", worker).model_runner
        self._scheduler = scheduler
        self._manager = tokenizer_manager
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count()
        self._updating = asyncio.Lock()
        self.version = "default"
        dispatcher = scheduler._request_dispatcher
        dispatcher._mapping.append((_Adopt, self._adopt))

    async def update(self, request: Mapping[str, Any]) -> str:
        """Read a directory and adopt it; what there is to say.

        Raises:
            WeightsError: it does not fit; the old weights stay.
            OSError: it cannot be read; the old weights stay.
            AdoptionError: the scheduler fails, or does not come to it in time.
        """
        async with self._updating:
            began = time.perf_counter()
            leaves = await asyncio.to_thread(self._read, Path(request["model_path"]))
            read_s = time.perf_counter() - began
            if request.get("abort_all_requests"):
                self._manager.abort_request(abort_all=True)
            pending = _Pending(leaves, bool(request.get("keep_pause")), Future())
            number = next(self._numbers)
            self._pending[number] = pending
            began = time.perf_counter()
            await self._manager.send_to_scheduler.send_pyobj(_Adopt(number))
            try:
                async with asyncio.timeout(_ADOPT_TIMEOUT_S):
                    waiting = await asyncio.wrap_future(pending.done)
            except Exception as error:
                msg = f"they may be adopted, or not, or in part ({type(error).__name__}: {error})"
                raise AdoptionError(msg) from error
            self._manager.model_path = request["model_path"]
            self.version = str(request.get("weight_version") or self.version)
            swap_s = time.perf_counter() - began
        return f"read in {read_s:.2f} s, adopted in {swap_s:.3f} s; {waiting} requests go on"

    def _read(self, directory: Path) -> list[Any]:
        """The state's leaves with the directory's weights, each where the old one lies."""
        jax, safetensors = importlib.import_module("jax"), importlib.import_module("safetensors")
        files = [safetensors.safe_open(path, framework="np") for path in weight_files(directory)]
        holder = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        shapes = {name: file.get_slice(name).get_shape() for name, file in holder.items()}
        old = self._leaves()
        planned = moves(shapes, {path: leaf.shape for path, leaf in old.items()})
        by_leaf = {move.leaf: move for move in planned}
        made = []
        for path, leaf in old.items():
            move = by_leaf.get(path)
            if move is None:
                made.append(leaf)
                continue
            tensor = holder[move.tensor].get_tensor(move.tensor).astype(leaf.dtype)
            made.append(jax.device_put(tensor.T if move.is_transposed else tensor, leaf.sharding))
        return jax.block_until_ready(made)

    def _leaves(self) -> dict[str, Any]:
        """The state by path, in the order of `model_state_leaves`."""
        tree_util = importlib.import_module("jax").tree_util
        leaves = self._runner.model_state_leaves
        state = tree_util.tree_unflatten(self._runner._model_state_def, leaves)
        found = tree_util.tree_flatten_with_path(state)[0]
        named = {canonical_path(keys): leaf for keys, leaf in found}
        assert len(named) == len(leaves), "paths of the model's state are not distinct"
        return named

    def _adopt(self, message: _Adopt) -> None:
        """In the scheduler's thread; it hears of nothing else meanwhile."""
        pending = self._pending.pop(message.number)
        try:
            pending.done.set_result(self._swap(pending))
        except Exception as error:  # whoever asked is told, and the scheduler lives on
            pending.done.set_exception(error)

    def _swap(self, pending: _Pending) -> int:
        scheduler, requests = self._scheduler, _requests()
        was_paused = scheduler._engine_paused
        if not was_paused:
            scheduler.pause_generation(requests.PauseGenerationReqInput(mode="retract"))
        runner, jax = self._runner, importlib.import_module("jax")
        state = jax.tree_util.tree_unflatten(runner._model_state_def, pending.leaves)
        importlib.import_module("flax.nnx").update(runner.model, state)  # lets go of the old ones
        runner.model_state_leaves = pending.leaves
        waiting = self._forget()
        if not was_paused and not pending.stays_paused:
            scheduler.continue_generation(requests.ContinueGenerationReqInput())
        return waiting

    def _forget(self) -> int:
        """Empty the caches, unless running requests use them; how many requests wait.

        Those that wait hold nothing: what a pause has retracted computes its keys anew.
        """
        scheduler = self._scheduler
        waiting, scheduler.waiting_queue = scheduler.waiting_queue, []
        try:
            scheduler.flush_cache()
        finally:
            scheduler.waiting_queue = waiting
        return len(waiting)


def _requests() -> Any:
    return importlib.import_module("sgl_jax.srt.managers.io_struct")


def _failure(error: Exception) -> dict[str, Any]:
    return {"success": False, "message": f"{type(error).__name__}: {error}"}


def _install(app: Any, weights: _Weights, manager: Any) -> None:
    """Add what is new to the server's application."""
    respond = importlib.import_module("fastapi.responses").JSONResponse
    routing = app.router.routes
    model_info = next(route for route in routing if route.path == "/get_model_info")
    routing.remove(model_info)

    async def get_model_info() -> dict[str, Any]:
        told = {"weight_version": weights.version, "keeps_refused": True}
        return {**await model_info.endpoint(), **told}

    async def update_weights_from_disk(request: dict[str, Any]) -> Any:
        try:
            said = await weights.update(request)
        except AdoptionError as error:
            return respond(_failure(error), status_code=500)
        except (WeightsError, OSError, KeyError) as error:
            return respond(_failure(error), status_code=400)
        return {"success": True, "message": said, "num_paused_requests": 0}

    app.get("/get_model_info")(get_model_info)
    app.post("/update_weights_from_disk")(update_weights_from_disk)
    generate = manager.generate_request

    async def generate_with_version(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for reply in generate(*args, **kwargs):
            for one in reply if isinstance(reply, list) else [reply]:
                one["meta_info"]["weight_version"] = weights.version
            yield reply

    manager.generate_request = generate_with_version


def with_config(arguments: Sequence[str]) -> list[str]:
    """The arguments, those of `--config FILE.yaml` first, which SGLang takes and sglang-jax not.

    A key that stands in a file is in no process list.
    """
    if "--config" not in arguments:
        return [*arguments]
    at = arguments.index("--config")
    text = Path(arguments[at + 1]).read_text(encoding="utf-8")
    found = importlib.import_module("yaml").safe_load(text)
    read = [str(word) for name, value in found.items() for word in (f"--{name}", value)]
    return [*read, *arguments[:at], *arguments[at + 2 :]]


def main(arguments: Sequence[str]) -> None:
    """Start the server and serve until it is stopped."""
    arguments = with_config(arguments)
    server: Any = importlib.import_module("sgl_jax.srt.entrypoints.http_server")
    arguments_of = importlib.import_module("sgl_jax.srt.server_args").ServerArgs.from_cli
    options = [*arguments] if _SINGLE in arguments else [*arguments, _SINGLE]
    settings = arguments_of(options)
    if settings.nnodes > 1:
        sys.exit(f"--nnodes={settings.nnodes}: weights can be updated on one host only")
    start = server._launch_subprocesses_or_threads

    def start_and_install(*args: Any, **kwargs: Any) -> Any:
        manager, templates, info = start(*args, **kwargs)
        _install(server.app, _Weights(info["scheduler"], manager), manager)
        return manager, templates, info

    server._launch_subprocesses_or_threads = start_and_install
    try:
        server.launch(settings)
    finally:
        importlib.import_module("sgl_jax.srt.utils").kill_process_tree(
            importlib.import_module("os").getpid(), include_parent=False
        )


if __name__ == "__main__":
    # Run by its path, Python looks for modules beside this file first: `requests` is one of them.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    main(sys.argv[1:])
