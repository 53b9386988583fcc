"""Make up conversations to warm up with: `python experiments/synthesize.py`.

Plays personas against any OpenAI-compatible endpoint (`synthesis.base_url`), so many conversations
as `synthesis.dialogues` says, leaves out what is repeated, leaked, too long or in another language,
and writes `synthetic.jsonl` into the run's folder. The same command goes on where it stopped. Exit
codes: 0 done, 2 the configuration does not allow it, 1 anything else.
"""

from pathlib import Path

import hydra
from _entry import guarded, is_checked_only, register_schema, start
from omegaconf import DictConfig

from clawjax.config import RunConfig, to_run_config
from clawjax.runtime.synthesize import ROWS, check_synthesis, synthesized

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="synthesize")
def main(config: DictConfig) -> None:
    """Make them, and say what became of them."""
    guarded(lambda: _synthesize(to_run_config(config)))


def _synthesize(config: RunConfig) -> None:
    if config.run.dry:
        check_synthesis(config.synthesis)
    if is_checked_only(config):
        return
    folder = Path(config.run.dir)
    counts = synthesized(config.synthesis, folder, seed=config.run.seed)
    rows = counts.pop("rows")
    became = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(f"{rows} rows in {folder / ROWS}; dialogues: {became}")


if __name__ == "__main__":
    start(main)
