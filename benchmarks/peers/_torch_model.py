"""The model that all contestants have, as transformers and PEFT load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
import transformers

__all__ = ["FOLDER", "load", "load_tokenizer"]

FOLDER = Path(__file__).parent / "environments" / "model"
_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(method: str, settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    """To be trained as a whole (`full`), or by adapters on all linear layers (`lora`)."""
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=dtype)
    if method == "full":
        return model
    adapters = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        target_modules=_LINEARS,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, adapters)


def load_tokenizer() -> Any:
    """With its chat template."""
    return transformers.AutoTokenizer.from_pretrained(FOLDER)
