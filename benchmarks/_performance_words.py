"""The prose of `docs/performance.md`: what a person has to know to read its figures."""

from __future__ import annotations

__all__ = ["AFTER", "EXPLAINED", "INTRODUCTION", "MEMORY", "SCRIPTS"]

INTRODUCTION = """\
# Performance

Made from `benchmarks/results/*.json` by `python benchmarks/render_results.py`; a test holds the
page to those files. Everything is SmolLM2-135M-Instruct on a CPU; peers run in environments of
their own (`bash benchmarks/peers/setup.sh`), contestants take turns within a run, and goals are on
medians of ratios within a round: seconds on a shared machine drift by tens of percent, ratios do
not. `make bench-check` compares a quick run with the committed baseline, in units of a fixed
kernel.

How the same engine and learner are set up for GPU and TPU is in [scaling](scaling.md)."""

MEMORY = """\
The cache of keys and values is allocated once, `(engine.slots + engine.kept_prefixes) x
model.context_length` positions. XLA's CPU backend keeps tens of MiB of the host's memory for each
program, and there is one for every number of rows and every length of `engine.live_buckets`. So a
small machine is served by a shorter `model.context_length` first, then by fewer
`engine.live_buckets` (replies read more keys than they need) and `engine.kept_prefixes` (prompts of
other conversations are read again). On an accelerator weights and cache are in the device's
memory."""

SCRIPTS = {
    "decode": "Decoding",
    "ttft": "Time to the first token",
    "train_step": "A training step",
    "train_ragged": "Turns of different lengths",
    "grpo_step": "Generate, then train",
    "overlap": "Learning beside serving",
    "latency_under_training": "What a user feels of learning",
    "feedback_to_served": "From a reaction to the reply that knows it",
    "startup": "Starting",
    "scaling": "How cost grows",
}
"""Results in the order of the page, and what each is about."""

EXPLAINED: dict[str, str] = {
    "decode": """\
At one stream a step reads 538 MB of weights, and the profile shows where: nearly all of the
device's time is in products that do so, at the rate that XLA's kernel for one row reaches, below
the rate at which BLAS reads. A second row, another layout and joined projections are no faster.
tunix runs the same kernels in one compiled loop; what is left between the two is what a server
does between steps (it streams, admits, and may stop after every token). From 4 streams on products
take most of the time still, and attention over keys and values comes second. In bf16 the peers
multiply with AVX512-bf16 instructions, which XLA's CPU backend does not use: it widens to fp32
first, so that fewer bits save reading alone. llama.cpp reads four bits a weight and is far ahead
for one stream. On an accelerator none of these kernels run.""",
    "train_step": """\
Steps are bound by fp32 products, at the share of the machine's limit that the profile shows:
attention and the output head take a third of the time and reach a fraction of a large product's
rate. PyTorch under autocast multiplies in bf16 with AVX512-bf16 instructions, at about twice fp32's
rate; XLA's CPU backend has none, so that no fp32 step can keep up with it. Memory stays below all
of the peers' that compute in fp32.""",
    "grpo_step": """\
What the peers do in memory is a hand-over of files here: a version is written, checksummed, synced,
read back and verified before it is served, so that whoever serves, restarts or rolls back meets the
same bits. Of an adapter that is a few megabytes; all weights are 538 MB, and `ours_hand_over_s` in
the result is then a third or more of the step. Generating and training alone are faster than each
peer's whole step in every pair. Peak memory is above TRL's, engine and learner having theirs side
by side (`memory_ratio` in the result).""",
    "feedback_to_served": """\
Four conversations with pauses of four seconds on average are answered and learnt from on the same
two cores, and the step that learns from a batch takes about as long as the next one takes to arrive
(`step_s` in the result, against seconds a batch). The result has two variants of the reference's
loop on the same traffic: one that learns from what comes with requests alone, which the goal is
about, waits for most of another batch; one that takes feedback as we do is level with ours.""",
    "overlap": """\
Slept: replies and steps that only wait, a batch arriving in the time of a step, show what the loops
let overlap. Real ones share the two cores, so that next to nothing is gained; where the learner has
a device of its own the first number is the one that counts.""",
    "latency_under_training": """\
A p99 of 80 replies is all but their slowest, and differs from round to round (the rows have the
ranges): that it is lower in training for the first token is chance. The median time to the first
token, in the rows, is longer in training.""",
}
"""What stands between a missed goal and its target, by script."""

AFTER = """\
## What the speed rests on

Decoding:

- Keys and values of a layer have buffers of their own, donated from step to step: one stacked
  buffer in a scan is copied at every step. Attention looks at the live length, in a few buckets.
- Programs are compiled ahead for every bucket of rows and length and kept on disk; a shape that was
  not foreseen is an error, never a compilation within a reply.
- Sampling is on the device and inverts a running sum in two levels, without a sort or a random
  number per token of the vocabulary; log-probs are of the same pass.
- The device is a step ahead: while nobody arrives, the next step is dispatched with tokens that the
  host has not seen. What it draws for a reply that has ended by then is dropped. Where a host is
  slow beside its device, `engine.tokens_per_dispatch` draws several tokens per call.
- A long prompt is read in pieces within decode steps; short prompts that arrive together are read
  together in one chunk between two steps.
- One row of fewer bits is padded to two: XLA's CPU backend takes ten times as long for one.

Training:

- Turns are packed into rows with segment ids; only response tokens meet the output head, in chunks
  whose logits are computed again in the backward pass, so that `[B, T, V]` never exists.
- Layers are stacked and scanned: one layer's compilation, tens of arrays instead of hundreds.
- Only what adapters need is differentiated: frozen weights have no gradients and no optimiser
  state.
- Log-probs of the policy that sampled come from the sampler; a second pass is made only where the
  objective asks for one.

Tried, and of no gain on a CPU: fused query, key and value projections, or gate and up (equal within
noise at 1, 4 and 16 rows); kernels stored transposed (slower from 4 rows on); one row padded to two
in fp32 (slower); wider vectors by `--xla_cpu_prefer_vector_width` (a few percent at most);
rematerialising whole layers (an eighth to a quarter slower, for little memory)."""
