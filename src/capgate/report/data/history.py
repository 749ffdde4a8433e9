"""The trend: one row for each run of a target on a benchmark, in `reports/history.sqlite`.

A target that was asked several has one more row, of no benchmark, with the verdict over all.
Runs are put on one line only where they asked the same questions in the same way: a *series* is
known by data set, prompt, scorer and generation settings, and by what of the data set was asked
for.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.versions import hashed_versions
from capgate.common.errors import StoreError
from capgate.common.grouping import grouped
from capgate.common.private_files import own_file, own_folder
from capgate.report.data.nouns import benchmark_name
from capgate.report.data.result import Report, Result, Section
from capgate.report.data.standings import has_several

FILE: Final = "history.sqlite"
SCHEMA_VERSION: Final = 4
_BUSY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of one target on one benchmark, or over all.

    Attributes:
        run: The run's id.
        target: The target's id.
        finished: ISO 8601, UTC.
        mode: `full` or `quick`; `""` where that was not recorded.
        complete: Whether every question chosen was put.
        verdict: The verdict's kind; `""` where it was only measured.
        accuracy: As a fraction; None where nothing was scored.
        low: Lower end of its interval.
        high: Upper end of its interval.
        questions: Questions put.
        drop: Against its reference; None where there was nothing to compare with.
        reference: Kind of the reference, or `""`.
        series: What it can be put on one line with, as a hash; `""` where it was not asked.
        asked: That in words.
        fingerprint: What answered.
        asked_now: Answers that the run asked for; None where an older capgate wrote the row.
        role: `reference` where the target was only compared with; else `""`.
        earlier: How many of the answers are from earlier runs; 0 where it is not known.
        newest_earlier: When the newest of these came, ISO 8601, UTC; `""` where there is none.
        benchmark: The benchmark's name; `""` for the verdict over all.
        drop_low: Lower end of the drop's interval; None where an older capgate wrote the row.
        drop_high: Upper end of it.
    """

    run: str
    target: str
    finished: str
    mode: str
    complete: bool
    verdict: str
    accuracy: float | None
    low: float | None
    high: float | None
    questions: int
    drop: float | None
    reference: str
    series: str
    asked: str
    fingerprint: str
    asked_now: int | None = None
    role: str = ""
    earlier: int = 0
    newest_earlier: str = ""
    benchmark: str = MMLU
    drop_low: float | None = None
    drop_high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a row of MMLU has no `benchmark`, as before there were others."""
        plain = asdict(self)
        if self.benchmark == MMLU:
            del plain["benchmark"]
        return plain

    @property
    def age(self) -> str:
        """How many of its answers are old, as a clause; `""` where none is."""
        nothing = "0 asked" if self.asked_now == 0 and self.questions else ""
        if not self.earlier:
            return nothing
        count = "all" if self.earlier >= self.questions else f"{self.earlier:,}"
        old = f"{count} answers from earlier runs, newest {self.newest_earlier}"
        return f"{nothing}: {old}" if nothing else old


_COLUMNS: Final = tuple(field.name for field in fields(Entry))
_CREATED: Final = 3
"""The version that a new file has before it is brought to this one."""

_CREATE: Final = """
CREATE TABLE runs (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    finished TEXT NOT NULL,
    mode TEXT NOT NULL,
    complete INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    accuracy REAL,
    low REAL,
    high REAL,
    questions INTEGER NOT NULL,
    "drop" REAL,
    reference TEXT NOT NULL,
    series TEXT NOT NULL,
    asked TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    asked_now INTEGER,
    role TEXT NOT NULL DEFAULT '',
    earlier INTEGER NOT NULL DEFAULT 0,
    newest_earlier TEXT NOT NULL DEFAULT '',
    benchmark TEXT NOT NULL,
    PRIMARY KEY (run, target, benchmark)
) WITHOUT ROWID
"""
_SINCE_2: Final = ("benchmark", "drop_low", "drop_high")
_NAMED_BEFORE: Final = ", ".join(f'"{name}"' for name in _COLUMNS if name not in _SINCE_2)
_UPGRADES: Final = {
    1: (
        "ALTER TABLE runs ADD COLUMN asked_now INTEGER",
        "ALTER TABLE runs ADD COLUMN role TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN earlier INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN newest_earlier TEXT NOT NULL DEFAULT ''",
    ),
    # A key can't be changed in place.
    2: (
        "ALTER TABLE runs RENAME TO older",
        _CREATE,
        f"INSERT INTO runs ({_NAMED_BEFORE}, benchmark) "
        f"SELECT {_NAMED_BEFORE}, '{MMLU}' FROM older",
        "DROP TABLE older",
    ),
    3: (
        "ALTER TABLE runs ADD COLUMN drop_low REAL",
        "ALTER TABLE runs ADD COLUMN drop_high REAL",
    ),
}
"""Version to the statements that bring a file of it to the next one."""


def entries(report: Report) -> list[Entry]:
    """A run's rows, those of targets that could not be asked among them."""
    suites = report.suites if has_several(report) else {}
    rows = [_over_all(report, target, suite) for target, suite in suites.items()]
    for benchmark, section in report.sections.items():
        rows += [
            _entry(report, section, benchmark, target, result)
            for target, result in section.targets.items()
        ]
        rows += [
            _not_judged(report, benchmark, target, verdict)
            for target, verdict in section.not_judged.items()
        ]
    return rows


def add_run(path: Path, report: Report) -> None:
    """Adds a run's rows; the same run written again replaces its own.

    Raises:
        StoreError: The file can't be written, or is not ours.
    """
    rows = [astuple(entry) for entry in entries(report)]
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    marks = ", ".join("?" * len(_COLUMNS))
    with _open(path) as db, db:
        db.executemany(f"INSERT OR REPLACE INTO runs ({names}) VALUES ({marks})", rows)


def read_history(path: Path, target: str | None = None) -> list[Entry]:
    """All rows, oldest first; of one target where it is named. A missing file has none.

    Raises:
        StoreError: The file can't be read, or is not ours.
    """
    if not path.exists():
        return []
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    with _open(path) as db:
        rows = db.execute(
            f"SELECT {names} FROM runs WHERE :target IS NULL OR target = :target "
            "ORDER BY finished, run, benchmark <> ''",
            {"target": target},
        ).fetchall()
    found = [Entry(*row) for row in rows]
    return [_typed(entry) for entry in found]


def by_series(rows: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Series to its rows, the series of the newest row first."""
    groups = grouped(rows, lambda row: row.series)
    return dict(sorted(groups.items(), key=lambda group: group[1][-1].finished, reverse=True))


def _typed(entry: Entry) -> Entry:
    return replace(entry, complete=bool(entry.complete))


def _entry(report: Report, section: Section, benchmark: str, target: str, result: Result) -> Entry:
    verdict = result.verdict or {}
    interval = result.overall.interval
    subjects = (report.settings.get("subjects") or []) if benchmark == MMLU else []
    asked = {
        "dataset": result.dataset.get("digest"),
        "task": result.task,
        "prompt": result.prompt_hash,
        "scorer": hashed_versions(_versions(result)),
        "generation": result.identity.get("generation"),
        "mode": result.mode,
        "subjects": sorted(subjects),
        "limit": result.limit if result.mode == "full" else None,
    }
    # Adapters of one name whose weights are not the same are two models.
    digest = str((result.identity.get("identity") or {}).get("adapter_digest") or "")
    if digest:
        asked["adapter"] = digest
    words = [
        f"data set {result.dataset.get('source')} {result.dataset.get('digest')}",
        result.task.split("/")[-1],
        result.mode,
    ]
    if benchmark == MMLU or "inspect_evals" in _versions(result):
        words.append(f"inspect_evals {_versions(result).get('inspect_evals', '?')}")
    if benchmark != MMLU:
        asked["benchmark"] = benchmark
        words.insert(0, benchmark_name(benchmark))
    if result.limit is not None and result.mode == "full":
        words.append(f"limit {result.limit:,}")
    chosen = result.dataset.get("subjects")
    if isinstance(chosen, int) and 0 < len(subjects) < chosen:
        words.append(f"{len(subjects)} subjects")
    if digest:
        words.append(f"adapter {digest[:12]}")
    return Entry(
        benchmark=benchmark,
        run=report.run,
        target=target,
        finished=result.timestamp,
        mode=result.mode,
        complete=result.complete,
        verdict=verdict.get("kind", ""),
        accuracy=result.overall_score,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        questions=result.overall.questions,
        drop=verdict.get("drop"),
        reference=(result.reference or {}).get("kind", ""),
        series=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16],
        asked=", ".join(words),
        fingerprint=result.fingerprint,
        asked_now=result.overall.asked,
        earlier=result.earlier,
        newest_earlier=result.newest_earlier or "",
        role="" if target in section.judged else "reference",
        drop_low=_drop_end(verdict, "low"),
        drop_high=_drop_end(verdict, "high"),
    )


def folded(rows: Sequence[Entry]) -> list[list[Entry]]:
    """Rows that may be told in one line, in their order.

    A run on an adapter has a row for its base too, which says the same each time: such rows in
    a row are told together, and so are older ones that were measured alike.
    """
    found: list[list[Entry]] = []
    for row in rows:
        if found and _alike(found[-1][-1], row):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _alike(one: Entry, other: Entry) -> bool:
    if one.verdict or other.verdict or one.series != other.series:
        return False
    if one.role == other.role == "reference":
        return True
    same = (one.accuracy, one.questions) == (other.accuracy, other.questions)
    # A run that asked something measured anew, and has a line of its own.
    return same and not other.asked_now


def _over_all(report: Report, target: str, suite: Mapping[str, Any]) -> Entry:
    """The row of the verdict over all benchmarks; it is on one line with runs of the same ones."""
    names = [str(one["name"]) for one in suite["benchmarks"]]
    own = [one.targets[target] for one in report.sections.values() if target in one.targets]
    mode = "quick" if suite["scope"] == "quick" else "full"
    asked = {"benchmarks": sorted(names), "mode": mode}
    old = max((one.newest_earlier or "" for one in own), default="")
    return Entry(
        benchmark="",
        run=report.run,
        target=target,
        finished=report.finished,
        mode=mode,
        complete=all(one.complete for one in own),
        verdict=suite["kind"],
        accuracy=None,
        low=None,
        high=None,
        questions=sum(one.overall.questions for one in own),
        drop=(suite["together"] or {}).get("drop"),
        reference=next((str(one.reference["kind"]) for one in own if one.reference), ""),
        series=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16],
        asked=f"over {', '.join(map(benchmark_name, names))}; {mode}",
        fingerprint=next((one.fingerprint for one in own), ""),
        asked_now=sum(one.overall.asked for one in own),
        earlier=sum(one.earlier for one in own),
        newest_earlier=old,
        drop_low=_drop_end(suite["together"] or {}, "low"),
        drop_high=_drop_end(suite["together"] or {}, "high"),
    )


def _drop_end(found: Mapping[str, Any], end: str) -> float | None:
    """One end of the interval of a drop."""
    low_high: Mapping[str, float] = found.get("interval") or {}
    return low_high.get(end)


def _not_judged(report: Report, benchmark: str, target: str, verdict: dict[str, Any]) -> Entry:
    return Entry(
        benchmark=benchmark,
        run=report.run,
        target=target,
        finished=report.finished,
        mode=report.mode or "",
        complete=False,
        verdict=verdict["kind"],
        accuracy=None,
        low=None,
        high=None,
        questions=0,
        drop=None,
        reference="",
        series="",
        asked="not judged",
        fingerprint="",
    )


def _versions(result: Result) -> dict[str, Any]:
    """The task and scorer by which its answers were read, and the packages they came with."""
    found = result.identity.get("versions")
    return dict(found) if isinstance(found, dict) else dict(result.versions)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        own_folder(path.parent)
        own_file(path)
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as db:
            db.execute("BEGIN IMMEDIATE")
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            strange = version == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone()
            if version > SCHEMA_VERSION or strange:
                raise StoreError(
                    f"the trend {path.name} has schema {version}; this capgate knows "
                    f"{SCHEMA_VERSION}",
                    remedy="upgrade capgate, or move the file away; nothing was changed",
                )
            if version == 0:
                db.execute(_CREATE)
            for before in range(version or _CREATED, SCHEMA_VERSION):
                for statement in _UPGRADES[before]:
                    db.execute(statement)
            if version < SCHEMA_VERSION:
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
            yield db
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"the trend {path.name} can't be read or written",
            said=str(error),
            remedy="mend or move the file; the run's own results are not touched",
        ) from None
