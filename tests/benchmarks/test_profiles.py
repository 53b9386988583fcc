"""What the profiler recorded, told apart by part of the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from _trace import DUMP_FLAGS, OTHER, Operation, Program, programs, shares

WORK = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp
from _trace import traced

def decode(x, weights):
    def layer(x, weight):
        with jax.named_scope("mlp/up_proj"):
            y = x @ weight
        with jax.named_scope("self_attn"):
            return jnp.tanh(y), None
    return jax.lax.scan(layer, x, weights)[0]

program = jax.jit(decode)
x, weights = jnp.ones((256, 256)), jnp.ones((4, 256, 256))
work = lambda: program(x, weights).block_until_ready()
work()
print(json.dumps(traced(work, Path(sys.argv[1]), Path(sys.argv[2]))))
"""


def operation(program: int, name: str, own: float, module: str = "jit_decode") -> Operation:
    return Operation(module, program, name, began=0.0, ended=own, own=own)


def test_time_goes_to_the_part_that_an_operation_is_named_after():
    text = Program(
        "jit_decode",
        {
            "dot.1": "jit(decode)/jit(layer)/DecoderLayer/mlp/up_proj/dot_general",
            "dot.2": "jit(decode)/jit(layer)/DecoderLayer/self_attn/dot_general",
            "fusion": "jit(decode)/jit(layer)/DecoderLayer/input_layernorm/mul",
            "dot.3": "jit(decode)/Transformer.logits/dot_general",
            "copy": "",
        },
    )
    ran = [
        operation(7, "dot.1", 50),
        operation(7, "dot.2", 20),
        operation(7, "fusion", 10),
        operation(7, "dot.3", 12),
        operation(7, "copy", 3),
        operation(9, "copy", 5, module="jit_sample"),
    ]
    assert shares(ran, [text]) == {
        "projections": 0.5,
        "attention": 0.2,
        "output head": 0.12,
        "norms, activations, sums": 0.1,
        "sampling": 0.05,
        OTHER: 0.03,
    }


def test_a_program_is_the_text_of_its_name_that_has_all_of_its_operations():
    few = Program("jit_decode", {"dot.1": "embed"})
    other = Program("jit_prefill", {"dot.1": "embed", "dot.2": "embed"})
    whole = Program("jit_decode", {"dot.1": "q_proj/dot_general", "dot.2": "self_attn/exp"})
    ran = [operation(1, "dot.1", 3), operation(1, "dot.2", 1)]
    assert shares(ran, [few, other, whole]) == {"projections": 0.75, "attention": 0.25}
    assert shares(ran, [few, other]) == {OTHER: 1.0}


def test_a_product_that_has_lost_its_name_is_known_by_the_weights_it_reads(tmp_path: Path):
    (tmp_path / "module_0004.jit_decode.after_optimizations.txt").write_text(
        """
ENTRY %main {
  %dot.1 = f32[1,64] dot(%x, %params__layers_0____mlp____down_proj____kernel__.1)
  ROOT %dot.2 = f32[1,99] dot(%y, %params__embed_tokens____embedding__.1)
  %ynn_fusion.3 = f32[2,64] fusion(%q, %k), backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  %add.4 = f32[2] add(%a, %b), metadata={op_name="jit(decode)/jit(layer)/DecoderLayer/add" id=3}
}
"""
    )
    ran = [
        operation(3, name, own)
        for name, own in (("dot.1", 4), ("dot.2", 3), ("ynn_fusion.3", 2), ("add.4", 1))
    ]
    assert shares(ran, list(programs(tmp_path))) == {
        "projections": 0.4,
        "output head": 0.3,
        "attention": 0.2,
        "norms, activations, sums": 0.1,
    }


@pytest.mark.slow
def test_a_loop_over_layers_is_recorded_and_its_time_counted_once(tmp_path: Path):
    environment = os.environ | {
        "XLA_FLAGS": f"{DUMP_FLAGS}{tmp_path / 'programs'}",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # what is not compiled is not written down
    }
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path / "trace"), str(tmp_path / "programs")],
        env=environment,
        cwd=benchmarks,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seconds, busy, found = json.loads(done.stdout.splitlines()[-1])
    assert 0 < busy <= 1
    assert seconds > 0
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["projections"] > found.get(OTHER, 0.0)
    assert found["attention"] > 0
