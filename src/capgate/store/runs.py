"""Stored runs, read back: by id as in `reports/`, by `latest`, or by the path of a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError, StoreError
from capgate.common.json_file import REPORT_BYTES, read_json
from capgate.gate.rows import Single
from capgate.store.answer_store import Store
from capgate.store.shard import WHOLE, Shard, ShardKind

LATEST: Final = "latest"
_ENTERED: Final[tuple[ShardKind, ...]] = ("entry",)
Mode = Literal["full", "quick", "unfinished"]


@dataclass(frozen=True)
class StoredRun:
    """What one target did in one benchmark of a run.

    Attributes:
        id: The run's id.
        target: The target's id.
        benchmark: What it was asked.
        started: Unix seconds.
        settings: What the run was asked to do.
        about: Fingerprint, data set, prompt and chosen questions, as the run recorded them.
        answers: One for each question that was put.
        shards: How its shards ended, but for its entry (`about`).
    """

    id: str
    target: str
    benchmark: str
    started: float
    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    answers: tuple[Answer, ...]
    shards: Mapping[Shard, Mapping[str, Any]]

    @property
    def task(self) -> str:
        """Name of the task that was asked."""
        return str(self._known.get("task", self.settings["task"]))

    @property
    def max_tokens(self) -> int:
        """The most tokens of an answer."""
        if self.benchmark == MMLU:
            return int(self.settings["max_tokens"])
        return int(self.about["facts"]["generation"]["max_tokens"])

    @property
    def parents(self) -> Mapping[str, str]:
        """Group to the parent that it belongs to, such as a subject's domain."""
        if self.benchmark == MMLU:
            return DOMAIN_OF
        parents: Mapping[str, str] = self._known.get("parents", {})
        return parents

    @property
    def letters(self) -> str:
        """The letters of the choices; `""` where answers are free text."""
        return "ABCD" if self.benchmark == MMLU else str(self._known.get("letters", ""))

    @property
    def chance(self) -> float:
        """Accuracy by guessing, as a fraction; 0 where answers are free text."""
        return 1.0 / len(self.letters) if self.letters else 0.0

    @property
    def advisory(self) -> bool:
        """Whether the benchmark was recorded as one that never decides."""
        return self._known.get("advisory") is True

    @property
    def _known(self) -> Mapping[str, Any]:
        """What the run recorded of a benchmark other than MMLU."""
        known: Mapping[str, Any] = self.about.get("benchmark", {})
        return known

    @property
    def mode(self) -> Mode:
        """Whether it was the whole benchmark, a quick run, or ended before either."""
        kinds = {shard.kind for shard in self.shards}
        return "full" if "suite" in kinds else "quick" if "quick" in kinds else "unfinished"

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """The verdict on the target; None where it was only measured, or never judged."""
        of_kind = {shard.kind: facts for shard, facts in self.shards.items()}
        whole = next((of_kind[kind] for kind in WHOLE if kind in of_kind), {})
        verdict: Mapping[str, Any] | None = whole.get("verdict")
        return verdict

    @cached_property
    def errors(self) -> int:
        """Questions without an answer."""
        return sum(answer.state is AnswerState.ERROR for answer in self.answers)

    @property
    def accuracy(self) -> float | None:
        """Share correct of the scored questions; None where there is none."""
        scored = len(self.answers) - self.errors
        right = sum(answer.state is AnswerState.CORRECT for answer in self.answers)
        return right / scored if scored else None

    @property
    def missing(self) -> str:
        """What keeps it from being the whole benchmark, as a clause; `""` where nothing does."""
        chosen, whole = sum(self.about["selected"].values()), self.about["dataset"]["questions"]
        if self.mode == "unfinished" or (self.mode == "quick" and not self.put_all):
            return f"it is {'a quick run' if self.mode == 'quick' else 'unfinished'}"
        if chosen < whole:
            return f"it asked {chosen:,} of the benchmark's {whole:,} questions"
        if len(self.answers) < chosen:
            return f"it asked {len(self.answers):,} of its {chosen:,} questions"
        return ""

    @property
    def put_all(self) -> bool:
        """Whether it put every question that a quick run of it could draw."""
        everything = self.about["dataset"]["questions"]
        if self.settings.get("limit") is None:
            everything = sum(self.about["selected"].values())
        return len(self.answers) >= int(everything)

    @property
    def singles(self) -> list[Single]:
        """Its answers as the gate takes them."""
        return [Single.of(answer) for answer in self.answers]


def has_tests(store: Store, run: str) -> bool:
    """Whether tests of the benchmark ran in a run, and not only a command such as `parity`."""
    ended = store.ended(run)
    return any(
        shard.kind != "entry" or "mode" in (store.shard(run, target, shard) or {})
        for target, shard in sorted(ended, key=lambda one: one[1].kind == "entry")
        if shard.kind != "worker"
    )


def find_run(store: Store, name: str) -> str:
    """The id of a run.

    Args:
        store: The store.
        name: An id or its beginning, `latest`, or the path of a run's folder or report.

    Raises:
        ConfigError: There is no such run in the store.
    """
    known = store.run_ids()
    if name == LATEST and known:
        # Commands that ask questions make runs as well, in which nothing is judged.
        return next((run for run in known if has_tests(store, run)), known[0])
    path = Path(name)
    if path.is_dir():
        path = path / "report.json"
    run = _run_of_report(path) if path.is_file() else name
    begun = [one for one in known if run and one.startswith(run)]
    if run in known or len(begun) == 1:
        return run if run in known else begun[0]
    near = get_close_matches(run, known, n=3, cutoff=0.4)
    raise ConfigError(
        f"the store {store.where} has no run {run}" + (f" (of {path})" if run != name else ""),
        remedy=f"did you mean {' or '.join(near)}?"
        if near
        else "give an id as in reports/, latest, or the path of a report.json, and the store that "
        "its answers are in with --store",
    )


def read_run(
    store: Store, run: str, target: str | None = None, *, benchmark: str = MMLU
) -> StoredRun:
    """One target's part in a benchmark of a run.

    Args:
        store: The store.
        run: The run's id.
        target: The target's id; where None, the one that was judged.
        benchmark: The benchmark.

    Raises:
        ConfigError: The target took no part in the run's benchmark, or the run judged several
            targets and none is named.
        StoreError: What is kept of it is damaged.
    """
    started, settings = store.begun(run)
    entry = Shard("entry", benchmark)
    shards: dict[str, set[Shard]] = {}
    others: dict[str, None] = {}
    for one, shard in store.ended(run):
        if shard.benchmark == benchmark:
            shards.setdefault(one, set()).add(shard)
        elif shard.kind == "entry" and target in (None, one):
            others[shard.benchmark] = None
    there = {one: mine for one, mine in shards.items() if entry in mine}
    if target is None:
        # An adapter's base takes part without being judged; it has no shard but its entry.
        judged = [one for one, mine in there.items() if len(mine) > 1] or list(there)
        if not judged and others:
            raise _not_asked(run, benchmark, others)
        if len(judged) != 1:
            raise ConfigError(
                f"the run {run} has {len(judged) or 'no'} targets"
                + (f": {', '.join(judged)}" if judged else ""),
                remedy="name one with --target" if judged else "it ended before it asked anything",
            )
        target = judged[0]
    if target not in there and others:
        raise _not_asked(run, benchmark, others, target)
    if target not in there:
        raise ConfigError(
            f"the run {run} has no answers of {target}",
            remedy=f"it has those of {', '.join(there)}" if there else "name another run",
        )
    mine = store.shards_of(run, target, benchmark)
    about = mine.pop(entry)
    if lacking := list(_lacking(about, settings, mine)):
        raise StoreError(
            f"what the store of answers {store.where} keeps of the run {run} is damaged: "
            f"{', '.join(lacking)}",
            target=target,
            remedy="name another run; nothing was changed",
        )
    answers = tuple(one.answer for one in store.used(run, target, benchmark=benchmark))
    return StoredRun(run, target, benchmark, started, settings, about, answers, mine)


def _not_asked(run: str, benchmark: str, others: Collection[str], target: str = "") -> ConfigError:
    return ConfigError(
        f"the run {run} did not ask {benchmark}",
        target=target,
        remedy=f"it asked {', '.join(others)}: name one with --benchmark",
    )


def _lacking(
    about: Mapping[str, Any], settings: Mapping[str, Any], shards: Mapping[Shard, Any]
) -> Iterator[str]:
    """The facts that every reader relies on and that are missing or of another type."""
    facts, dataset = about.get("facts"), about.get("dataset")
    selected = about.get("selected")
    if not isinstance(facts, dict) or not isinstance(facts.get("versions"), dict):
        yield "facts"
    if (
        not isinstance(dataset, dict)
        or not isinstance(dataset.get("questions"), int)
        or not isinstance(dataset.get("source", ""), str)
    ):
        yield "dataset"
    if not isinstance(about.get("benchmark", {}), dict):
        yield "benchmark"
    counts = selected.values() if isinstance(selected, dict) else [None]
    if not all(isinstance(count, int) for count in counts):
        yield "selected"
    yield from (n for n in ("prompt_hash", "fingerprint") if not isinstance(about.get(n), str))
    limit = settings.get("max_tokens", 0)
    if not isinstance(settings.get("task"), str) or not isinstance(limit, int):
        yield "settings"
    for shard, one in shards.items():
        verdict = one.get("verdict")
        kind = verdict.get("kind") if isinstance(verdict, dict) else ""
        if not isinstance(verdict, dict | None) or not isinstance(kind, str):
            yield f"the verdict on {shard.label}"


def targets_of(store: Store, run: str) -> list[str]:
    """The targets that took part in a run."""
    return sorted({target for target, shard in store.ended(run) if shard.kind == "entry"})


def benchmarks_of(store: Store, run: str, target: str | None = None) -> list[str]:
    """The benchmarks that a run asked, in the order in which its settings name them.

    Args:
        store: The store.
        run: The run's id.
        target: Only those that this target was asked; all where it is None.
    """
    asked = {
        shard.benchmark
        for one, shard in store.ended(run)
        if shard.kind == "entry" and target in (None, one)
    }
    named = store.begun(run)[1].get("benchmarks") if asked else None
    first = [one for one in named if one in asked] if isinstance(named, list) else []
    # MMLU's before others that the settings do not name.
    rest = sorted(asked.difference(first), key=lambda name: (name != MMLU, name))
    return [*dict.fromkeys(first), *rest]


def runs_of(
    store: Store,
    target: str,
    *,
    kinds: Collection[ShardKind] = _ENTERED,
    benchmark: str = MMLU,
) -> Iterator[StoredRun]:
    """A target's part in each run in which it was asked a benchmark, newest first.

    Args:
        store: The store.
        target: The target's id.
        kinds: Only runs in which a shard of it of such a kind ended; `suite` for those of the whole
            benchmark.
        benchmark: The benchmark.
    """
    those = {run for one in kinds for run in store.runs_with(target, one, benchmark)}
    for run in store.runs_with(target, "entry", benchmark):
        if run in those:
            yield read_run(store, run, target, benchmark=benchmark)


def newest_whole(store: Store, target: str, *, benchmark: str = MMLU) -> StoredRun | None:
    """A target's newest run of a whole benchmark, errors or not; None where there is none."""
    # A run without a verdict on the whole has something missing, whatever it answered.
    runs = runs_of(store, target, kinds=WHOLE, benchmark=benchmark)
    return next((run for run in runs if not run.missing), None)


def newest_of_any(store: Store, target: str) -> str | None:
    """Id of a target's newest run that asked the whole of any benchmark; None where none did."""
    asked = {benchmark for _, one, benchmark in store.asked() if one == target}
    found = [newest_whole(store, target, benchmark=benchmark) for benchmark in sorted(asked)]
    newest = max((run for run in found if run), key=lambda run: run.started, default=None)
    return newest.id if newest else None


def newest_whole_runs(store: Store) -> dict[tuple[str, str], StoredRun]:
    """Target and benchmark to the target's newest run of the whole benchmark, where it has one."""
    asked = {(target, benchmark) for _, target, benchmark in store.asked()}
    runs = {pair: newest_whole(store, pair[0], benchmark=pair[1]) for pair in sorted(asked)}
    return {pair: run for pair, run in runs.items() if run is not None}


def known_targets(store: Store) -> list[str]:
    """The targets that took part in any stored run."""
    return sorted({target for _, target, _ in store.asked()})


def _run_of_report(path: Path) -> str:
    try:
        run = read_json(path, most=REPORT_BYTES)["run"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a run's report", said=str(error), remedy="name its report.json"
        ) from None
    if not isinstance(run, str):
        raise ConfigError(f"{path} is not a run's report", remedy="name its report.json")
    return run
