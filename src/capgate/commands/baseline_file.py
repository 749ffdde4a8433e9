"""The file of a target's recorded baseline: where it lies, and how it is read and written."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ReferenceMissingError
from capgate.common.files import FileError, write_atomically
from capgate.config.settings import Settings
from capgate.config.shown_command import of_benchmark
from capgate.config.thresholds import baseline_path
from capgate.store.baselines import Baseline, dump_baseline, load_baseline


def recorded_baseline(settings: Settings, target: str, benchmark: str = MMLU) -> Baseline:
    """A target's recorded baseline of a benchmark.

    Raises:
        ReferenceMissingError: None is recorded.
        ConfigError: Its file has faults.
    """
    path = baseline_path(settings.thresholds_dir, target, benchmark)
    if not path.exists():
        raise ReferenceMissingError(
            f"there is no baseline {shown_path(path, settings)}",
            target=target,
            remedy=f"record one: capgate baseline record {quote(target)}{of_benchmark(benchmark)}",
        )
    return load_baseline(path, benchmark=benchmark)


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes a baseline's file, readable like other files under version control.

    Raises:
        FileError: It can't be written.
    """
    try:
        write_atomically(path, dump_baseline(baseline), shared=True)
    except OSError as error:
        raise FileError(
            f"{path} can't be written", said=str(error), remedy="make its folder writable"
        ) from None


def shown_path(path: Path, settings: Settings) -> str:
    """A path as messages name it: relative to the project's folder where it lies in it."""
    return str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)
