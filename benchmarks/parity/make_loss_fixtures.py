"""Write TRL's losses and gradients, as fixtures that the tests compare clawjax with.

Needs torch, so it has an environment of its own:

    python -m venv /tmp/parity
    /tmp/parity/bin/pip install torch==2.13.0 trl==1.16.0 transformers==5.23.0 peft==0.21.2
    /tmp/parity/bin/python benchmarks/parity/make_loss_fixtures.py --out tests/learner/data

Written: `trl_losses.npz`. TRL's own `GRPOTrainer._compute_loss`, `DPOTrainer._compute_loss` and
`SFTTrainer.compute_loss` run on a tiny random Llama with TRL's fused head. The trainers are not
constructed (that takes a dataset and a reward function): they are bare objects that carry the
attributes the loss methods read. A gradient is that with respect to the model's per-token
log-probs of the response, `[B, T]`.

One thing is not TRL's: its importance weights against the sampler are computed in the middle of
generation, so the same two lines stand in `importance_weights` here.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOTrainer, GRPOTrainer, SFTTrainer
from trl.trainer.utils import add_fused_lm_head

SEED = 11
VOCABULARY = 48
PROMPT = 4
LENGTHS = [7, 1, 4, 6, 3, 5]
"""Response tokens of each turn; the first half are the chosen replies of DPO's pairs."""
SETTINGS = {
    "clip_low": 0.2,
    "clip_high": 0.28,
    "gspo_clip_low": 0.05,
    "gspo_clip_high": 0.08,
    "cispo_ratio_high": 1.3,
    "dual_clip": 1.5,
    "kl_coef": 0.3,
    "constant_length": 9,
    "items_in_batch": 40,
    "weight_cap": 1.2,
    "mask_low": 0.7,
    "mask_high": 1.4,
    "dpo_beta": 0.2,
}


class Recorded(torch.nn.Module):
    """A model that keeps its last log-probs, with their gradient."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.logprobs = torch.empty(0)

    def forward(self, **inputs: Any) -> Any:
        """As the model."""
        outputs = self.model(**inputs)
        self.logprobs = outputs.log_probs
        self.logprobs.retain_grad()
        return outputs


def main() -> None:
    """Write the fixture."""
    parser = argparse.ArgumentParser(description="Write loss fixtures for the tests.")
    parser.add_argument("--out", type=Path, required=True, help="e.g. tests/learner/data")
    out = parser.parse_args().out
    torch.manual_seed(SEED)
    model = Recorded(tiny_model())
    batch = make_batch(model)
    fixture = {name: batch[name] for name in ("new", "old", "base", "sampler", "advantages")}
    fixture["mask"] = batch["completion_mask"].bool()
    for name, changes in grpo_cases(batch).items():
        record(fixture, name, model, grpo_loss(model, batch, **changes))
    record(fixture, "dpo", model, dpo_loss(model, batch))
    record(fixture, "sft", model, sft_loss(model, batch))
    arrays = {name: np.asarray(values.detach()) for name, values in fixture.items()}
    arrays |= {name: np.float32(value) for name, value in SETTINGS.items()}
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "trl_losses.npz", **arrays)
    for name in sorted(name for name in arrays if name.endswith("/loss")):
        print(f"{name:24} {arrays[name]: .6f}")


def tiny_model() -> LlamaForCausalLM:
    """Random, with logits that differ by a few nats."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.5)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def make_batch(model: Recorded) -> dict[str, torch.Tensor]:
    """Random turns, padded on the right, with log-probs of other policies around the model's."""
    count, width = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(1, VOCABULARY, (count, PROMPT + width))
    mask = torch.arange(width)[None, :] < torch.tensor(LENGTHS)[:, None]
    ids[:, PROMPT:][~mask] = 0
    attention = torch.cat([torch.ones(count, PROMPT, dtype=torch.bool), mask], dim=1).long()
    labels = ids.masked_fill(attention == 0, -100)
    labels[:, :PROMPT] = -100
    with torch.no_grad():
        new = model.model(
            input_ids=ids, attention_mask=attention, labels=labels, fused_lm_head=True
        ).log_probs[:, -width:]

    def nearby(spread: float) -> torch.Tensor:
        return torch.where(mask, new + spread * torch.randn_like(new), 0.0)

    old = nearby(0.3)
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "labels": labels,
        "completion_mask": mask.long(),
        "new": new,
        "old": old,
        "base": nearby(0.5),
        "sampler": torch.where(mask, old + 0.3 * torch.randn_like(new), 0.0),
        "advantages": torch.tensor([1.2, -0.7, -1.1, 0.4, 0.9, -1.5]),
    }


def record(
    fixture: dict[str, torch.Tensor], name: str, model: Recorded, loss: torch.Tensor
) -> None:
    """Keep a loss and its gradient; padding, constant 0 in TRL's model, is given none."""
    loss.backward()
    gradient = model.logprobs.grad
    assert gradient is not None
    fixture[f"{name}/loss"] = loss.detach()
    fixture[f"{name}/grad"] = gradient[:, -max(LENGTHS) :] * fixture["mask"]


def bare(trainer: type, **attributes: Any) -> Any:
    """A trainer with nothing but what its loss method reads."""
    bare_trainer = trainer.__new__(trainer)
    common = {
        "model": SimpleNamespace(training=True),
        "accelerator": Accelerator(cpu=True),
        "aux_loss_enabled": False,
        "current_gradient_accumulation_steps": 1,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    bare_trainer.__dict__.update(common | attributes)
    return bare_trainer


# --- GRPO and its kin ---------------------------------------------------------------------------


def grpo_cases(batch: dict[str, torch.Tensor]) -> dict[str, dict[str, Any]]:
    """What each case changes."""
    loss_types = {name: {"loss_type": name} for name in ("grpo", "bnpo", "dr_grpo", "dapo")}
    gspo = {
        "importance_sampling_level": "sequence",
        "epsilon_low": SETTINGS["gspo_clip_low"],
        "epsilon_high": SETTINGS["gspo_clip_high"],
    }
    return loss_types | {
        "cispo": {"loss_type": "cispo", "epsilon_high": SETTINGS["cispo_ratio_high"]},
        "gspo": gspo,
        "gspo_dapo": {**gspo, "loss_type": "dapo"},
        "kl": {"beta": SETTINGS["kl_coef"]},
        "dual_clip": {"delta": SETTINGS["dual_clip"]},
        "on_policy": {"old": None},
        "decoupled": {"weights": importance_weights(batch, "token_truncate")},
        "icepop": {"weights": importance_weights(batch, "token_mask")},
    }


def importance_weights(batch: dict[str, torch.Tensor], mode: str) -> torch.Tensor:
    """The middle of `GRPOTrainer._generate_and_score_completions`."""
    ratio = torch.exp((batch["old"] - batch["sampler"]) * batch["completion_mask"])
    if mode == "token_truncate":
        return torch.clamp(ratio, max=SETTINGS["weight_cap"])
    is_out = (ratio < SETTINGS["mask_low"]) | (ratio > SETTINGS["mask_high"])
    return ratio.masked_fill(is_out, value=0.0)


def grpo_loss(
    model: Recorded,
    batch: dict[str, torch.Tensor],
    *,
    beta: float = 0.0,
    delta: float | None = None,
    old: str | None = "old",
    weights: torch.Tensor | None = None,
    **attributes: Any,
) -> torch.Tensor:
    """`GRPOTrainer._compute_loss`."""
    settings = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": SETTINGS["clip_low"],
        "epsilon_high": SETTINGS["clip_high"],
    }
    trainer = bare(
        GRPOTrainer,
        beta=beta,
        args=SimpleNamespace(delta=delta, use_bias_correction_kl=False, steps_per_generation=1),
        max_completion_length=SETTINGS["constant_length"],
        use_vllm=weights is not None,
        vllm_importance_sampling_correction=True,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        _entropy_bonus_enabled=False,
        **(settings | attributes),
    )
    inputs = {
        "prompt_ids": batch["input_ids"][:, :PROMPT],
        "prompt_mask": batch["attention_mask"][:, :PROMPT],
        "completion_ids": batch["input_ids"][:, PROMPT:],
        "completion_mask": batch["completion_mask"],
        "advantages": batch["advantages"],
        "num_items_in_batch": torch.tensor(SETTINGS["items_in_batch"]),
        "ref_per_token_logps": batch["base"],
        "importance_sampling_ratio": weights,
    }
    if old is not None:
        inputs["old_per_token_logps"] = batch[old]
    return trainer._compute_loss(model, inputs)


# --- DPO and SFT --------------------------------------------------------------------------------


def dpo_loss(model: Recorded, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """`DPOTrainer._compute_loss`: turns of the first half are chosen over those of the second."""
    trainer = bare(
        DPOTrainer,
        beta=SETTINGS["dpo_beta"],
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        precompute_ref_logps=True,
        use_weighting=False,
    )
    chosen, rejected = batch["base"].sum(dim=1).chunk(2)
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "completion_mask": (batch["labels"] != -100).long(),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    return trainer._compute_loss(model, inputs, return_outputs=False)


def sft_loss(model: Recorded, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """`SFTTrainer.compute_loss` on the responses, averaged over their tokens."""
    trainer = bare(
        SFTTrainer,
        args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=False),
        compute_loss_func=None,
        label_smoother=None,
    )
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    return trainer.compute_loss(model, inputs)


if __name__ == "__main__":
    main()
