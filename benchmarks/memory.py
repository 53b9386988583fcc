"""Where does the memory of a serving process go?

`python benchmarks/memory.py [--quick]` puts the engine together step by step, with shipped
settings, and looks at the resident memory of its process after each, once freed memory has been
given back: libraries, weights, the cache of keys and values, and the compiled programs, kind by
kind. About a minute on one CPU core where the compilation cache is filled, five where it is not.
`--quick` takes the tiny random model.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import psutil
from _config import composed
from _result import Goal, largest, write_result

from clawjax.config import RunConfig
from clawjax.engine.adoption import return_freed_memory, served
from clawjax.engine.decode import Decoder, Shape
from clawjax.models.load import load_model
from clawjax.runtime.build import use_compilation_cache

TINY = ("model=tiny", "engine=tiny", "learner=tiny")
_MIB = 2**20

NOTES = {
    "mib": "resident memory that the part adds, MiB; on a CPU the device's memory is among it",
    "counted_mib": "bytes of its arrays, MiB",
    "programs": "compiled for the part: one per bucket of rows and length",
    "mib_each": "of a program; loaded from the compilation cache where that has it",
}


class Part(NamedTuple):
    """A step of putting an engine together, after which memory is looked at."""

    name: str
    counted: int = 0
    """Bytes of the arrays that it made."""
    programs: int = 0


def main() -> None:
    """Put together, look, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        config = composed(Path(folder), *(TINY if options.quick else ()))
        rows = measured(parts(config))
    for row in rows:
        print(f"{row['part']:24} {row['mib']:8.0f} MiB  {row['programs'] or '':>3}")
    write_result(
        "memory_quick" if options.quick else "memory",
        rows=rows,
        goals=goals(rows),
        command="python benchmarks/memory.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def parts(config: RunConfig) -> Iterator[Part]:
    """Make one part of an engine after the other, and keep all of them."""
    yield Part("libraries")
    use_compilation_cache(config)
    model = load_model(config.model)
    params = served(model.params, config.engine.weights_dtype)
    yield Part("weights", counted=size(params))
    held = live_bytes()
    decoder = Decoder(model.architecture, model.context_length, config.engine)
    yield Part("keys and values", counted=live_bytes() - held)
    kinds = defaultdict[str, set[Shape]](set)
    for shape in decoder.shapes():
        kinds[shape.kind].add(shape)
    for kind, shapes in sorted(kinds.items()):
        decoder.prepare(frozenset(shapes), params)
        yield Part(f"programs: {kind}", programs=len(shapes))


def measured(made: Iterable[Part]) -> list[dict[str, Any]]:
    """A row per part: by how much the process has grown."""
    rows, before = [], 0
    for part in made:
        now = resident()
        mib = (now - before) / _MIB
        rows.append(
            {
                "part": part.name,
                "mib": round(mib, 1),
                "counted_mib": round(part.counted / _MIB, 1) if part.counted else None,
                "programs": part.programs or None,
                "mib_each": round(mib / part.programs, 1) if part.programs else None,
            }
        )
        before = now
    return rows


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Arrays take what their bytes are, and no program outgrows the others."""
    over = (row["mib"] / row["counted_mib"] for row in rows if row["counted_mib"])
    each = (row["mib_each"] for row in rows if row["programs"])
    return [
        Goal("weights, keys and values, over their bytes", "<=", 1.1, largest(over), "x"),
        Goal("a compiled program, mean of the largest kind", "<=", 64, largest(each), "MiB"),
    ]


def size(tree: Any) -> int:
    """Bytes of a tree's arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def live_bytes() -> int:
    """Bytes of all arrays that there are."""
    return sum(array.nbytes for array in jax.live_arrays())


def resident() -> int:
    """Bytes of this process in memory, once what is free has been given back."""
    gc.collect()
    return_freed_memory()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
