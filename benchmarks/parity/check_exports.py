"""Load what `write_exports.py` wrote with transformers and peft, and compare the logits.

Runs in the environment that `make_model_fixtures.py` describes:

    /tmp/parity/bin/python benchmarks/parity/check_exports.py /tmp/exports

Prints one JSON object; exits with 1 where logits differ by more than the tolerance,
or token ids at all.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-3


def main(root: Path) -> int:
    """Check every model below `root`."""
    models = {path.name: check(path) for path in sorted(root.iterdir()) if path.is_dir()}
    worst = max(value for model in models.values() for value in model["max_abs_diff"].values())
    report = {
        "tolerance": TOLERANCE,
        "worst": worst,
        "models": models,
        "device": f"cpu {platform.machine()}",
        "versions": {each.__name__: each.__version__ for each in (torch, transformers, peft)},
    }
    print(json.dumps(report, indent=2))
    is_equal = worst <= TOLERANCE and all(model["same_token_ids"] for model in models.values())
    return 0 if is_equal else 1


def check(directory: Path) -> dict[str, Any]:
    """Differences of one model: as exported, merged, and with the adapter on the base."""
    expected = np.load(directory / "expected.npz")
    ids = torch.as_tensor(expected["ids"])[None]
    base = load(directory / "base")
    differences = {
        "base": difference(base, ids, expected["base"]),
        "merged": difference(load(directory / "merged"), ids, expected["adapted"]),
    }
    adapted = PeftModel.from_pretrained(base, directory / "adapter")
    differences["adapter"] = difference(adapted, ids, expected["adapted"])
    tokenizer = AutoTokenizer.from_pretrained(directory / "merged")
    chat = [{"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    moved = float(np.abs(expected["adapted"] - expected["base"]).max())
    text_ids = tokenizer(str(expected["text"]), add_special_tokens=False)["input_ids"]
    return {
        "max_abs_diff": differences,
        "adapter_moves_logits_by": moved,
        "same_token_ids": text_ids == expected["text_ids"].tolist(),
        "prompt": prompt,
    }


def load(directory: Path) -> torch.nn.Module:
    """A model as a user would load it."""
    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )


def difference(model: torch.nn.Module, ids: torch.Tensor, expected: np.ndarray) -> float:
    """The largest difference of any logit."""
    with torch.no_grad():
        return float(np.abs(model.eval()(ids).logits[0].numpy() - expected).max())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
