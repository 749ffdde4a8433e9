"""What a run was asked to do: one set of options and defaults for every way to start one.

pytest, make, the scripts and `capgate run` all read `run_options.OPTIONS`, so that the same options
give the same settings, the same fingerprint and the same stored answers.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from capgate.benchmarks.mmlu.subjects import DOMAINS, MMLU, SUBJECTS
from capgate.benchmarks.mmlu.task import TASKS
from capgate.common.errors import ConfigError
from capgate.config.run_options import LogFormat, RunnerKind
from capgate.config.store_place import StorePlace
from capgate.config.suite import has_own_tests

MODELS_FILE: Final = "config/models.yaml"
"""A project's file of targets, where no option names another."""

_FILES: Final[Mapping[str, str | None]] = {
    "published": None,
    "policy": None,
    "output_dir": "reports",
    "models_file": MODELS_FILE,
    "thresholds_dir": "thresholds",
}
"""The settings that are files or folders of the project, and where each usually is."""

_STORE: Final = "reports/answers.sqlite"
"""Where the store of answers usually is."""


@dataclass(frozen=True)
class Settings:
    """The options of one run, checked; plain values, alike in controller and workers.

    Attributes:
        root: Folder that the other paths are relative to.
        model_ids: Targets asked for; empty for the default one.
        adapter_names: Adapters asked for; they belong to the one target in `model_ids`.
        endpoints: Roots of running servers that answer for the targets asked for, in place of
            what their entries say; empty where the entries say it.
        ray: Where the Ray cluster is whose machines run the servers; None for this machine.
        baseline: Whether the recorded baseline is the reference, in place of the policy's.
        published: Published scores that are the reference in place of the policy's, or None.
        policy: The policy's file in place of `policy.yaml`, or None.
        confirm: Whether a subject that fails is asked once more.
        measure: Whether nothing is judged.
        measure_missing: Whether a target with nothing to compare with is measured.
        allow_routes: Providers that may have answered one side of a comparison alone.
        max_cost: US dollars that the run may cost, or None.
        benchmarks: The benchmarks asked for, in order: those of `suite`, then those named.
        suite: Name of the suite asked for, or `""`.
        task: A key of `TASKS`: the variant of MMLU.
        dataset: Source asked for, or None for each target's own.
        limit: Most questions for each target, or None.
        subjects: The subjects asked for, in alphabetical order.
        temperature: Sampling temperature.
        max_tokens: Most tokens of an answer.
        seed: Seed of a quick run's order; None for one that follows from the candidate.
        runner: What asks (`asking.runner`).
        inspect_logs: Form of Inspect's logs.
        alerts: URLs that the command line names for alerts; secrets, never recorded.
        fresh: Whether stored answers of earlier runs are left aside.
        stored: Whether nothing is asked, and the store's answers are judged.
        output_dir: Where results go.
        store: Where the store of answers is.
        models_file: The targets' file.
        thresholds_dir: Folder of floors, baselines and policy.
        sweep: Whether `adapter_names` are judged together, by the policy's `sweep_fdr`.
    """

    root: Path
    model_ids: tuple[str, ...]
    adapter_names: tuple[str, ...]
    endpoints: tuple[str, ...]
    ray: str | None
    baseline: bool
    published: Path | None
    policy: Path | None
    confirm: bool
    measure: bool
    measure_missing: bool
    allow_routes: tuple[str, ...]
    max_cost: float | None
    benchmarks: tuple[str, ...]
    suite: str
    task: str
    dataset: str | None
    limit: int | None
    subjects: tuple[str, ...]
    temperature: float
    max_tokens: int
    seed: int | None
    runner: RunnerKind
    inspect_logs: LogFormat
    fresh: bool
    stored: bool
    alerts: tuple[str, ...] = field(repr=False)
    output_dir: Path
    store: StorePlace
    models_file: Path
    thresholds_dir: Path
    sweep: bool = False

    @classmethod
    def from_options(cls, options: argparse.Namespace, root: Path) -> Settings:
        """Reads the settings from parsed options.

        Args:
            options: With the attributes that `OPTIONS` name (`Option.dest`).
            root: The project's folder.

        Raises:
            ConfigError: A benchmark, suite, task, subject or domain is unknown.
        """

        def path(name: str) -> Path:
            return root / (getattr(options, f"capgate_{name}") or str(_FILES[name]))

        if options.capgate_baseline and options.capgate_published:
            raise ConfigError(
                "--baseline and --published name two references",
                remedy="leave one of them out",
            )
        for name in ("fresh", "confirm"):
            if options.capgate_stored and getattr(options, f"capgate_{name}"):
                raise ConfigError(
                    f"--stored asks nothing, and --{name} asks anew",
                    remedy="leave one of them out",
                )
        if options.capgate_tasks not in TASKS:
            raise _unknown("task", options.capgate_tasks, tuple(TASKS))
        return cls(
            root=root,
            model_ids=tuple(dict.fromkeys(options.capgate_model_id or ())),
            adapter_names=tuple(dict.fromkeys(options.capgate_adapter_name or ())),
            endpoints=tuple(options.capgate_endpoints or ()),
            ray=options.capgate_ray,
            baseline=options.capgate_baseline,
            published=root / published if (published := options.capgate_published) else None,
            policy=root / policy if (policy := options.capgate_policy) else None,
            confirm=options.capgate_confirm,
            measure=options.capgate_measure,
            measure_missing=options.capgate_measure_missing,
            allow_routes=tuple(_names(options.capgate_allow_routes)),
            max_cost=options.capgate_max_cost,
            benchmarks=_benchmarks(options.capgate_benchmark, options.capgate_suite, root),
            suite=options.capgate_suite or "",
            task=options.capgate_tasks,
            dataset=options.capgate_dataset,
            limit=options.capgate_limit,
            subjects=_subjects(options.capgate_subjects, options.capgate_domains),
            temperature=options.capgate_temperature,
            max_tokens=options.capgate_max_tokens,
            seed=options.capgate_seed,
            runner=options.capgate_runner or "auto",
            inspect_logs=options.capgate_inspect_logs,
            fresh=options.capgate_fresh,
            stored=options.capgate_stored,
            alerts=tuple(dict.fromkeys(options.capgate_alert or ())),
            output_dir=path("output_dir"),
            store=StorePlace.read(options.capgate_store or _STORE, root),
            models_file=path("models_file"),
            thresholds_dir=path("thresholds_dir"),
        )

    @property
    def quick(self) -> bool:
        """Whether the suite of benchmarks that was asked for means quick runs."""
        from capgate.config.benchmarks_file import load_benchmarks

        return bool(self.suite) and load_benchmarks(self.root).suite_of(self.suite).quick

    @property
    def reference(self) -> Literal["baseline", "published"] | None:
        """The reference that the command line demands in place of the policy's."""
        if self.baseline:
            return "baseline"
        return "published" if self.published else None

    def describe(self) -> dict[str, Any]:
        """The settings as results record them, without secrets.

        `files` names the files and folders that are not the usual ones, relative to the
        project's folder where they lie in it: the commands that results show can be run. `suite`
        is there for a project that has no tests of capgate, and so runs the shipped ones.
        """
        values = asdict(self)
        del values["store"]
        paths: dict[str, Path | None] = {name: values.pop(name, None) for name in _FILES}
        files = {
            name: path.relative_to(self.root).as_posix()
            if path.is_relative_to(self.root)
            else str(path)
            for name, path in paths.items()
            if path is not None and path != self.root / (_FILES[name] or ".")
        }
        if self.store != StorePlace.file(self.root / _STORE):
            files["store"] = self.store.recorded(self.root)
        for name in ("alerts", "root"):
            del values[name]
        for name in ("stored", "sweep"):
            if not values[name]:
                del values[name]
        if values["runner"] == "auto":
            # The direct runner asks MMLU; what asks another benchmark depends on its task.
            del values["runner"]
            if self.benchmarks == (MMLU,):
                values["runner"] = "direct"
        for name in ("endpoints", "ray"):
            if not values[name]:
                del values[name]
        # A run of MMLU alone is recorded as it was before there were other benchmarks.
        if suite := values.pop("suite"):
            values["benchmark_suite"] = suite
        elif self.benchmarks == (MMLU,):
            del values["benchmarks"]
        own = has_own_tests(self.root)
        return {
            **({} if own else {"suite": "shipped"}),
            **{name: list(v) if isinstance(v, tuple) else v for name, v in values.items()},
            "files": files,
        }


def _benchmarks(named: Sequence[str] | None, suite: str | None, root: Path) -> tuple[str, ...]:
    if not named and not suite:
        return (MMLU,)
    from capgate.config.benchmarks_file import load_benchmarks

    known = load_benchmarks(root)
    chosen = [*(known.suite_of(suite).benchmarks if suite else ()), *(named or ())]
    for name in chosen:
        known.entry_of(name)
    return tuple(dict.fromkeys(chosen))


def _subjects(subjects: str | None, domains: str | None) -> tuple[str, ...]:
    chosen: set[str] = set()
    for subject in _names(subjects):
        if subject not in SUBJECTS:
            raise _unknown("subject", subject, SUBJECTS)
        chosen.add(subject)
    for domain in _names(domains):
        if domain not in DOMAINS:
            raise _unknown("domain", domain, tuple(DOMAINS))
        chosen.update(DOMAINS[domain])
    return tuple(sorted(chosen)) or SUBJECTS


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return ConfigError(f"there is no {kind} {name!r}", remedy=hint)
