"""An offline `datasets` cache of MMLU, made from a folder of jsonl files.

With it, and `HF_HUB_OFFLINE=1` set before anything is imported, inspect_evals' own tasks
load what they would load from the hub.

    python -m perf.offline_cache ../shared/data/mmlu some/hf-home --subjects
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

SPLITS = ("test", "validation", "dev")


def build(source: Path, hf_home: Path) -> Path:
    """Builds the cache.

    Args:
        source: Folder with `test.jsonl`, `validation.jsonl` and `dev.jsonl`.
        hf_home: What `HF_HOME` will name.

    Returns:
        The data set's folder within the cache.
    """
    import datasets
    from inspect_evals.mmlu.mmlu import MMLU_REVISION

    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "subject": datasets.Value("string"),
            "choices": datasets.Sequence(datasets.Value("string")),
            "answer": datasets.ClassLabel(names=["A", "B", "C", "D"]),
        }
    )
    cache = hf_home / "datasets" / "cais___mmlu" / "all" / "0.0.0" / MMLU_REVISION
    with tempfile.TemporaryDirectory() as scratch:
        # Laid out as on the hub: the arrow files are named after the folder.
        folder = Path(scratch) / "mmlu"
        (folder / "all").mkdir(parents=True)
        for split in SPLITS:
            with (source / f"{split}.jsonl").open(encoding="utf-8") as lines:
                rows = datasets.Dataset.from_list(list(map(json.loads, lines)), features=features)
            rows.to_parquet(folder / "all" / f"{split}-00000-of-00001.parquet")
        (folder / "README.md").write_text(_card(), encoding="utf-8")
        builder = datasets.load_dataset_builder(
            str(folder), "all", cache_dir=str(Path(scratch) / "unused")
        )
        builder.download_and_prepare(output_dir=str(cache))
    return cache


def build_subjects(hf_home: Path) -> None:
    """Adds each subject as a configuration of its own, as other harnesses load them."""
    import datasets
    from inspect_evals.mmlu.mmlu import MMLU_REVISION

    datasets.disable_progress_bars()
    whole = hf_home / "datasets" / "cais___mmlu"
    splits = {
        split: datasets.Dataset.from_file(
            str(whole / "all" / "0.0.0" / MMLU_REVISION / f"mmlu-{split}.arrow")
        )
        for split in SPLITS
    }
    for subject in sorted(set(splits["dev"]["subject"])):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "mmlu"
            (folder / subject).mkdir(parents=True)
            for split, rows in splits.items():
                chosen = [at for at, name in enumerate(rows["subject"]) if name == subject]
                path = folder / subject / f"{split}-00000-of-00001.parquet"
                rows.select(chosen).to_parquet(path)
            (folder / "README.md").write_text(_card(subject), encoding="utf-8")
            builder = datasets.load_dataset_builder(
                str(folder), subject, cache_dir=str(Path(scratch) / "unused")
            )
            builder.download_and_prepare(output_dir=str(whole / subject / "0.0.0" / MMLU_REVISION))


def _card(config: str = "all") -> str:
    files = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in SPLITS)
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
