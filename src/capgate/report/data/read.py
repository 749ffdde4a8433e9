"""Finding a run's report and reading it, whichever version wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.recorded import known_parents
from capgate.common.errors import ConfigError, FileFault
from capgate.common.json_file import REPORT_BYTES, read_json
from capgate.common.validation import data_faults
from capgate.config.store_place import StorePlace
from capgate.report.data.groups import upgraded, words_of
from capgate.report.data.killed import killed_fault_of, killed_runs
from capgate.report.data.result import SCHEMA_VERSION, Report, Section

REPORT: Final = "report.json"
_SWEEP: Final = "sweep.json"
_SHOWN: Final = 10
_LARGEST: Final = 2**53


def find_report(name: str, output: Path, store: StorePlace | None = None) -> Path:
    """The `report.json` that a name stands for.

    Args:
        name: A run's id or the beginning of it, `latest`, or a path of the file or its folder.
        output: The folder of results.
        store: Where the store is; it knows of runs that were killed before their report.

    Raises:
        ConfigError: There is none, several begin so, or the run was killed before its report.
    """
    path = Path(name)
    if path.is_file():
        return path
    if (path / REPORT).is_file():
        return path / REPORT
    # Ids begin with the run's time, so their order is the runs'.
    runs = sorted(found.parent.name for found in output.glob(f"*/{REPORT}"))
    killed = [] if store is None else killed_runs(store, output)
    if path.is_dir() and path.name in killed:
        name = path.name
    meant = [run for run in (*runs, *killed) if run.startswith(name)]
    if name == "latest":
        meant = sorted([*runs, *killed])[-1:]
    if len(meant) == 1 and meant[0] in killed and store is not None:
        raise killed_fault_of(store, meant[0])
    sweeps = sorted(found.parent.name for found in output.glob(f"*/{_SWEEP}"))
    named = [sweep for sweep in sweeps if name and sweep.startswith(name)]
    if named and not meant:
        raise ConfigError(
            f"{named[-1]} is a sweep, which has a page of its own and no report",
            remedy=f"open {output.name}/{named[-1]}/sweep.html",
        )
    if not runs:
        raise ConfigError(
            f"there is no report in {output.name}/",
            remedy="capgate run makes one; or name the folder with --output-dir",
        )
    if name == "latest":
        return output / runs[-1] / REPORT
    found = [run for run in runs if run == name] or [run for run in runs if run.startswith(name)]
    if len(found) != 1:
        listed = ", ".join((found or runs)[-3:])
        raise ConfigError(
            f"{len(found) or 'no'} runs begin with {name!r}" if name else "no run was named",
            remedy=f"name one in full, or latest; the last ones are {listed}",
        )
    return output / found[0] / REPORT


def read_report(path: Path) -> Report:
    """Reads a report; one of an older version is brought up to this one's.

    Raises:
        ConfigError: It is no report, it is damaged, or a newer capgate wrote it.
    """
    try:
        raw = read_json(path, most=REPORT_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} can't be read as a report", said=str(error), remedy="name a run's report.json"
        ) from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or "targets" not in raw:
        raise ConfigError(
            f"{path} is no report of a run",
            remedy="name the report.json of a run's folder (a target's own file is another form)",
        )
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema version {version}; this capgate reads up to {SCHEMA_VERSION}",
            remedy="upgrade capgate",
        )
    if version < 1:
        raise ConfigError(
            f"{path} has schema version {version}, which never was",
            remedy="it was changed by hand; run again",
        )
    for before in range(version, SCHEMA_VERSION):
        try:
            raw = _UPGRADES[before](raw)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ConfigError(
                f"{path} has not the form of schema version {version}, which it names",
                remedy="it was changed by hand, or is damaged; run again",
            ) from None
    try:
        report = Report.model_validate(raw)
    except ValidationError as error:
        faults = data_faults(error)
    else:
        faults = [*_further_faults(report), *_immense(raw, "")]
        if not faults:
            return report
    raise ConfigError(
        f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
        faults=faults[:_SHOWN],
        remedy="it was changed by hand, or is damaged; run again",
    )


def _further_faults(report: Report) -> Iterator[FileFault]:
    """What pages and tables rely on, beyond the form that the schema gives."""
    subjects = report.settings.get("subjects") or []
    if not isinstance(subjects, list) or not all(isinstance(one, str) for one in subjects):
        yield FileFault("settings.subjects", "should be a list of subjects")
    for benchmark, section in report.sections.items():
        within = "" if benchmark == report.benchmark else f"benchmarks.{benchmark}."
        yield from _section_faults(section, benchmark, within)
    for name in report.suites.keys() - {t for one in report.sections.values() for t in one.known}:
        yield FileFault(f"suites.{name}", "is of no target of the run")


def _section_faults(section: Section, benchmark: str, within: str) -> Iterator[FileFault]:
    """The same, of what was found on one benchmark."""
    for name in section.comparisons.keys() - section.targets.keys():
        yield FileFault(f"{within}comparisons.{name}", "is of no target of the run")
    for name, result in section.targets.items():
        place = f"{within}targets.{name}"
        if result.benchmark != benchmark:
            yield FileFault(f"{place}.benchmark", f"should be {benchmark}")
        if not isinstance(result.dataset.get("questions"), int):
            yield FileFault(f"{place}.dataset.questions", "should be a whole number")
        verdicts = [result.verdict, *(one.verdict for one in result.subject_details.values())]
        for verdict in filter(None, verdicts):
            policy = verdict["policy"] or {}
            for key in ("tolerate", "catch", "max_unparsed"):
                if not isinstance(policy.get(key), float | int | None):
                    yield FileFault(f"{place}.verdict.policy.{key}", "should be a number")


def _immense(value: object, place: str) -> Iterator[FileFault]:
    """The numbers that no run has and no arithmetic goes on with."""
    if isinstance(value, float | int) and not abs(value) <= _LARGEST:
        yield FileFault(place, "this number is larger than any of a run, or is none")
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _immense(one, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from _immense(one, f"{place}.{at}")


def _worded(raw: dict[str, Any]) -> dict[str, Any]:
    """Version 6 has words for subjects and domains in place of PASS and REGRESSION."""
    raw = _next(raw)
    raw["verdict"] = upgraded(raw.get("verdict"))
    for name, verdict in (raw.get("not_judged") or {}).items():
        raw["not_judged"][name] = upgraded(verdict)
    for one in raw["targets"].values():
        one["verdict"] = upgraded(one["verdict"])
        for group in (one["overall"], *one["domains"].values(), *one["subject_details"].values()):
            group["verdict"] = upgraded(group.get("verdict"))
        own = {name: group["verdict"] for name, group in one["subject_details"].items()}
        # Only MMLU could be asked then.
        words = words_of(own, one["domains"], one["verdict"], known_parents(MMLU))
        for groups in (one["subject_details"], one["domains"]):
            for name, group in groups.items():
                group["word"] = words.get(name)
    return raw


def _next(raw: dict[str, Any]) -> dict[str, Any]:
    """Versions 2 to 5 and 7 have more and changed nothing; what older runs lack stays empty."""
    version = raw["schema_version"] + 1
    targets = raw["targets"]
    if isinstance(targets, dict):
        targets = {
            name: {**one, "schema_version": version} if isinstance(one, dict) else one
            for name, one in targets.items()
        }
    return {**raw, "schema_version": version, "targets": targets}


_UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: _next,
    2: _next,
    3: _next,
    4: _next,
    5: _worded,
    6: _next,
}
"""Version to what brings a report of it to the next one."""
