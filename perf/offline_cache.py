"""An offline `datasets` cache of data sets of the hub, made from rows on this machine.

With it, and `HF_HUB_OFFLINE=1` set before anything is imported, inspect_evals' own tasks
load what they would load from the hub. The command makes one of MMLU from its jsonl files.

    python -m perf.offline_cache ../shared/data/mmlu some/hf-home --subjects
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets

SPLITS = ("test", "validation", "dev")
MMLU = "cais/mmlu"


def prepare(
    hf_home: Path,
    repository: str,
    revision: str,
    splits: Mapping[str, datasets.Dataset],
    *,
    config: str = "default",
    data_dir: str | None = None,
) -> Path:
    """Puts one configuration of a data set into the cache.

    Args:
        hf_home: What `HF_HOME` will name.
        repository: The data set on the hub, such as `cais/mmlu`.
        revision: The commit by which a task asks for it.
        splits: Split to its rows.
        config: Its name on the hub.
        data_dir: The folder within the data set that a task asks for, where it does.

    Returns:
        The configuration's folder within the cache.
    """
    import datasets
    from datasets.naming import camelcase_to_snakecase

    owner, name = repository.split("/")
    snake = camelcase_to_snakecase(name)
    called = config
    if data_dir is not None:
        called = datasets.BuilderConfig(config).create_config_id({"data_dir": data_dir})
    cache = hf_home / "datasets" / f"{owner}___{snake}" / called / "0.0.0" / revision
    with tempfile.TemporaryDirectory() as scratch:
        # Laid out as on the hub: the arrow files are named after the folder.
        folder = Path(scratch) / snake
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            rows.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        (folder / "README.md").write_text(_card(config, splits), encoding="utf-8")
        builder = datasets.load_dataset_builder(
            str(folder), config, cache_dir=str(Path(scratch) / "unused")
        )
        builder.download_and_prepare(output_dir=str(cache))
    return cache


def build(source: Path, hf_home: Path) -> Path:
    """Builds the cache of MMLU.

    Args:
        source: Folder with `test.jsonl`, `validation.jsonl` and `dev.jsonl`.
        hf_home: What `HF_HOME` will name.

    Returns:
        The data set's folder within the cache.
    """
    import datasets
    from inspect_evals.mmlu.mmlu import MMLU_REVISION

    features = mmlu_features()
    splits = {}
    for split in SPLITS:
        with (source / f"{split}.jsonl").open(encoding="utf-8") as lines:
            rows = list(map(json.loads, lines))
        splits[split] = datasets.Dataset.from_list(rows, features=features)
    return prepare(hf_home, MMLU, MMLU_REVISION, splits, config="all")


def mmlu_features() -> datasets.Features:
    """The columns of MMLU's rows."""
    import datasets

    return datasets.Features(
        {
            "question": datasets.Value("string"),
            "subject": datasets.Value("string"),
            "choices": datasets.Sequence(datasets.Value("string")),
            "answer": datasets.ClassLabel(names=["A", "B", "C", "D"]),
        }
    )


def build_subjects(hf_home: Path) -> None:
    """Adds each subject as a configuration of its own, as other harnesses load them."""
    import datasets
    from inspect_evals.mmlu.mmlu import MMLU_REVISION

    datasets.disable_progress_bars()
    whole = hf_home / "datasets" / "cais___mmlu" / "all" / "0.0.0" / MMLU_REVISION
    splits = {
        split: datasets.Dataset.from_file(str(whole / f"mmlu-{split}.arrow")) for split in SPLITS
    }
    for subject in sorted(set(splits["dev"]["subject"])):
        mine = {}
        for split, rows in splits.items():
            chosen = [at for at, name in enumerate(rows["subject"]) if name == subject]
            mine[split] = rows.select(chosen)
        prepare(hf_home, MMLU, MMLU_REVISION, mine, config=subject)


def _card(config: str, splits: Mapping[str, object]) -> str:
    files = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits)
    return f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n"


def main() -> None:
    """Builds the cache that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("hf_home", type=Path)
    parser.add_argument("--subjects", action="store_true", help="each also by itself")
    options = parser.parse_args()
    print(build(options.source, options.hf_home))
    if options.subjects:
        build_subjects(options.hf_home)


if __name__ == "__main__":
    main()
