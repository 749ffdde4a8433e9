"""Which logs a path stands for, and which tasks and benchmarks they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.common.errors import CapgateError, ConfigError, FileFault
from capgate.common.text import one_line
from capgate.logs.inspect_log import ARCHIVE, InspectTask
from capgate.logs.lm_eval import LmEvalTask
from capgate.logs.lm_eval_run import RESULTS, SAMPLES, LmEvalRun, read_run
from capgate.logs.logged import LoggedBenchmark, Wanted
from capgate.logs.nemo import RECORDS, NemoTask, read_bundle

KINDS: Final = (
    "a folder or file of Inspect (.eval, .json), of lm-evaluation-harness (--log_samples: "
    "samples_TASK_DATE.jsonl and results_DATE.json), or of NeMo Evaluator (eval-*.json and "
    "results.jsonl)"
)

_HEAD: Final = 4096
_INSPECT: Final = re.compile(rb'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:')
_LM_EVAL: Final = re.compile(rb'\s*\{\s*"results"\s*:')
_NEMO: Final = re.compile(rb'\s*\{\s*"run_id"\s*:')
_REPORT: Final = "report.json"


def is_log(name: str) -> bool:
    """Whether a name is the path of a log of another harness, and of no run of capgate's.

    Args:
        name: What was given on a command line.
    """
    path = Path(name)
    if path.is_dir():
        return not (path / _REPORT).is_file()
    return path.is_file() and path.name != _REPORT


def find_logs(
    path: Path, wanted: Wanted, entries: Mapping[str, BenchmarkEntry]
) -> dict[str, LoggedBenchmark]:
    """Finds the logs of one run.

    Args:
        path: A log, or a folder that holds logs of one run, at any depth.
        wanted: What a person wants of them.
        entries: The benchmarks that the project knows, which say how their scores are read.

    Returns:
        Benchmark's name to what was logged of it.

    Raises:
        ConfigError: There are none, or more than one run; else with the faults of all.
    """
    faults: list[FileFault] = []
    found: dict[str, LoggedBenchmark] = {}
    seen: dict[str, Path] = {}
    left_out: dict[str, None] = {}
    for kind, files in _files(path).items():
        for file in files:
            try:
                each = _opened(kind, file, wanted, entries)
            except CapgateError as error:
                faults.append(FileFault(file.name, f"{error.what}. {error.remedy}"))
                continue
            for one in each:
                if wanted.leaves_out(one.name):
                    left_out[one.name] = None
                    continue
                (log,) = one.logs
                if log.task in seen:
                    earlier = _from(seen[log.task], path)
                    what = f"holds the task {log.task}, as {earlier} does"
                    faults.append(FileFault(_from(log.path, path), what))
                    continue
                seen[log.task] = log.path
                before = found.get(one.name, LoggedBenchmark(one.name, {}))
                found[one.name] = LoggedBenchmark(
                    one.name, {**before.groups, **one.groups}, {**before.parents, **one.parents}
                )
    if faults:
        raise ConfigError(
            f"the logs of {path} can't be judged",
            faults=faults,
            remedy="give the logs of one run: its folder, or its file",
        )
    if not found and left_out:
        named, known = ", ".join(wanted.benchmarks or ()), ", ".join(left_out)
        raise ConfigError(
            f"{path} holds no log of {one_line(named, limit=100)}",
            remedy=f"name one of these with --benchmark: {one_line(known, limit=300)}",
        )
    if not found:
        raise ConfigError(f"{path} holds no log that can be judged", remedy=f"give {KINDS}")
    return found


def _from(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) and file != root else file.name


def _files(path: Path) -> dict[str, list[Path]]:
    """Kind of log to its files.

    Raises:
        ConfigError: The path is not there, or is of no known kind.
    """
    if not path.exists():
        raise ConfigError(f"there is no {path}", remedy=f"give {KINDS}")
    if path.is_file():
        kind = _kind(path)
        if kind is None:
            raise ConfigError(
                f"{path} is no log that is known by its name and form", remedy=f"give {KINDS}"
            )
        return {kind: [path]}
    files = sorted(one for one in path.rglob("*") if one.is_file() and not one.is_symlink())
    kinds: dict[str, list[Path]] = {}
    for file in files:
        if (kind := _kind(file)) is not None:
            kinds.setdefault(kind, []).append(file)
    # In a folder, samples stand for their run; what tells more of it is read with them.
    kinds.pop("results", None)
    kinds.pop("bundle", None)
    return kinds


def _kind(file: Path) -> str | None:
    if file.suffix == ARCHIVE:
        return "inspect"
    if SAMPLES.fullmatch(file.name):
        return "samples"
    if file.name == RECORDS:
        return "records"
    if file.suffix != ".json":
        return None
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return None
    if _INSPECT.match(head):
        return "inspect"
    if _LM_EVAL.match(head):
        return "results"
    return "bundle" if _NEMO.match(head) else None


def _opened(
    kind: str, file: Path, wanted: Wanted, entries: Mapping[str, BenchmarkEntry]
) -> list[LoggedBenchmark]:
    """What a file holds, task by task."""
    if kind == "inspect":
        return [_of_inspect(file, wanted, entries)]
    if kind == "samples":
        return _of_samples(file, wanted)
    if kind == "results":
        return _of_results(file, wanted)
    bundles = [one for one in sorted(file.parent.glob("eval-*.json")) if _kind(one) == "bundle"]
    if kind == "records" and len(bundles) > 1:
        names = ", ".join(one.name for one in bundles)
        raise ConfigError(
            f"{len(bundles)} bundles stand beside it ({one_line(names, limit=200)})",
            remedy="keep each run in a folder of its own",
        )
    bundle = file if kind == "bundle" else next(iter(bundles), None)
    records = file.parent / RECORDS
    if not records.is_file():
        raise ConfigError(
            f"no {RECORDS} stands beside it, and a score alone can't be compared question by "
            "question",
            remedy="keep the two files together",
        )
    log = NemoTask(records, read_bundle(bundle) if bundle else {}, wanted)
    return [LoggedBenchmark(log.task, {"": log})]


def _of_inspect(
    file: Path, wanted: Wanted, entries: Mapping[str, BenchmarkEntry]
) -> LoggedBenchmark:
    log = InspectTask(file, None, wanted)
    for name, entry in entries.items():
        if log.is_of(entry):
            return LoggedBenchmark(name, {"": InspectTask(file, entry, wanted)}, entry.parent_of)
    return LoggedBenchmark(log.task, {"": log})


def _of_samples(file: Path, wanted: Wanted) -> list[LoggedBenchmark]:
    found = SAMPLES.fullmatch(file.name)
    assert found is not None
    task = found["task"]
    # A file of that name is the run's own, in any order of its keys.
    beside = [
        one
        for one in _named(file.parent, found["date"])
        if one.name.startswith("results_") or _kind(one) == "results"
    ]
    run = read_run(beside[0]) if beside else LmEvalRun()
    name, parent = run.place_of(task)
    if wanted.leaves_out(name):
        # A fault of what is not judged is none.
        return [LoggedBenchmark(name, {})]
    log = LmEvalTask(file, task, run, wanted)
    if name == task:
        return [LoggedBenchmark(name, {"": log})]
    return [LoggedBenchmark(name, {task: log}, {task: parent} if parent else {})]


def _of_results(file: Path, wanted: Wanted) -> list[LoggedBenchmark]:
    found = RESULTS.fullmatch(file.name)
    samples = [
        one
        for one in sorted(file.parent.glob("samples_*.jsonl"))
        if (of := SAMPLES.fullmatch(one.name)) and found and of["date"] == found["date"]
    ]
    if not samples:
        raise ConfigError(
            "no samples of its run stand beside it, and a score alone can't be compared question "
            "by question",
            remedy="run lm_eval with --log_samples",
        )
    return [found for one in samples for found in _of_samples(one, wanted)]


def _named(folder: Path, date: str) -> Iterable[Path]:
    return sorted(
        one
        for one in folder.glob("*.json")
        if (found := RESULTS.fullmatch(one.name)) and found["date"] == date
    )
