"""A project with made-up benchmarks and adapters, for measurements of many of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml
from perf.measuring import ROOT
from perf.stand_in import MODEL

TARGET: Final = "stand-in"
SUITE: Final = "made-up"


def make_project(
    root: Path,
    entry: Mapping[str, object],
    benchmarks: Mapping[str, int],
    groups: int = 1,
    catch: Mapping[str, float] | None = None,
) -> Path:
    """A folder that `pytest benchmarks --suite made-up` runs in.

    Args:
        root: The folder.
        entry: Further keys of the base's entry, such as `base_url`.
        benchmarks: Name to number of questions.
        groups: Groups of each benchmark.
        catch: Benchmark to the loss that must be caught; 5 points where it has none.
    """
    (root / "config").mkdir(parents=True)
    (root / "thresholds").mkdir()
    (root / "data").mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "benchmarks", root / "benchmarks", ignore=ignore)
    target = {"model_name": MODEL, "context_window": 2048, **entry, "default": True}
    _dump(root / "config" / "models.yaml", {TARGET: target})
    _dump(
        root / "config" / "benchmarks.yaml",
        {
            **{
                name: {"questions": f"data/{name}.jsonl", "catch": (catch or {}).get(name, 0.05)}
                for name in benchmarks
            },
            "suites": {SUITE: list(benchmarks)},
        },
    )
    for name, count in benchmarks.items():
        with (root / "data" / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps(_question(name, number, groups)) + "\n")
    return root


def make_adapters(folder: Path, count: int, lost: int = 0) -> list[Path]:
    """Folders of adapters, each with other weights; the names of the first ones say `lost`."""
    made = []
    for number in range(count):
        path = folder / f"{'lost' if number < lost else 'kept'}-{number:03}"
        path.mkdir(parents=True)
        facts = {"r": 8, "base_model_name_or_path": MODEL, "peft_type": "LORA"}
        (path / "adapter_config.json").write_text(json.dumps(facts), encoding="utf-8")
        weights = (2).to_bytes(8, "little") + b"{}" + number.to_bytes(4, "little") * 16
        (path / "adapter_model.safetensors").write_bytes(weights)
        made.append(path)
    return made


def _question(benchmark: str, number: int, groups: int) -> dict[str, object]:
    right = "ABCD"[hash_of(number) % 4]
    return {
        "question": f"Which of these is number {number} of {benchmark}? "
        f"{'So it goes on. ' * 20}(key {right})",
        "choices": [f"the {place} {number}" for place in ("first", "second", "third", "fourth")],
        "answer": right,
        "group": f"part-{number % groups:02}",
    }


def hash_of(number: int) -> int:
    """A number that follows from another one, spread out."""
    return number * 2_654_435_761 % 2**32 >> 8


def _dump(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
