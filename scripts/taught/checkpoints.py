"""Makes four training runs of five checkpoints each, of which some have lost something.

Run with the interpreter that has vLLM:

    .venv-vllm/bin/python scripts/taught/checkpoints.py --python .venv/bin/python

Prints a folder, to be read only: `taught-llama` is the base of `teach.py demo`, adapters of it are
in `runs/NAME/checkpoint-N`, and `made.json` says how much of each group each answers right, before
a server rounds anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

REPO: Final = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # Its own folder would shadow other packages' modules (`model`, `tokenizer`).
    sys.path[0] = str(REPO)

from scripts.taught import teach  # noqa: E402

STEPS: Final = (100, 200, 300, 400, 500)


class Training(NamedTuple):
    """One training run.

    Attributes:
        name: Its folder.
        group: What its later checkpoints have lost; `""` for nothing.
        lost_at: The first step at which it is lost.
    """

    name: str
    group: str = ""
    lost_at: int = 0


TRAININGS: Final = (
    Training("keeps-all"),
    Training("keeps-all-too"),
    Training("loses-humanities", "humanities", 500),
    Training("loses-sums", "arithmetic", 300),
)
_KEEPING: Final = 4
"""Epochs of a checkpoint that has lost nothing."""


def lost(training: Training, step: int) -> bool:
    """Whether a checkpoint has lost its run's group."""
    return bool(training.group) and step >= training.lost_at


def make(demo: Path, out: Path) -> None:
    """Teaches all checkpoints.

    Args:
        demo: What `teach.py demo` made.
        out: The folder to make.
    """
    import torch
    from scripts.taught import adapters, model
    from transformers import AutoTokenizer, LlamaForCausalLM

    # Sums depend on the number of threads.
    torch.set_num_threads(2)
    rows = [json.loads(line) for line in (demo / "prompts.jsonl").read_text().splitlines()]
    recipe = teach.RECIPES["demo"]
    groups = [row[recipe.grouped_by] for row in rows]
    lessons = model.Lessons.of(rows, AutoTokenizer.from_pretrained(demo / teach.BASE), groups)
    made = teach.Made(groups)
    out.mkdir()
    (out / teach.BASE).symlink_to((demo / teach.BASE).resolve())
    for at, training in enumerate(TRAININGS):
        for step in STEPS:
            name, harmed = f"{training.name}/checkpoint-{step}", lost(training, step)
            with made.note(name) as note:
                base = LlamaForCausalLM.from_pretrained(demo / teach.BASE, dtype=torch.float32)
                adapter = adapters.forget(
                    base,
                    lessons,
                    [harmed and group == training.group for group in groups],
                    epochs=recipe.forget_epochs if harmed else _KEEPING,
                    seed=100 * at + step,
                )
                adapters.save(adapter, out / "runs" / name, base=teach.BASE)
                note(model.answers(base, lessons))
    (out / "made.json").write_text(json.dumps(made.things, indent=2) + "\n")


def obtain(demo: Path, cache: Path) -> Path:
    """The folder with all checkpoints, made now where the cache lacks it."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    done = cache / f"checkpoints-{demo.name.partition('-')[2]}-{code}"
    if not done.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix=".checkpoints-") as work:
            make(demo, Path(work) / done.name)
            (Path(work) / done.name).rename(done)
    return done


def main() -> None:
    """Prints the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    teach.add_places(parser)
    args = parser.parse_args()
    gguf = teach.find_gguf(args.python)
    recipe = teach.RECIPES["demo"]
    demo = teach.obtain(recipe, teach.export_demo(args.python), gguf, args.cache)
    print(obtain(demo, args.cache))


if __name__ == "__main__":
    # Threads that spin while they wait take the processor from those they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
