"""Inspect's log of what one target was asked of one shard, written once, by Inspect's writer."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from inspect_ai import Task
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalPlan,
    EvalSample,
    EvalSpec,
    EvalStats,
    write_eval_log,
)

from capgate.asking.inspect_backend.direct_sample import EndedSample, SampleRunner
from capgate.asking.inspect_backend.messages import logprob_settings
from capgate.asking.inspect_backend.results import add_results
from capgate.asking.inspect_backend.task_record import TaskRecord
from capgate.asking.target_client import TargetClient
from capgate.common.files import told_of_files
from capgate.common.private_files import own_folder
from capgate.config.run_options import LogFormat

SAMPLES: Final = 2000
"""Most samples of one log: all of them are in memory until it is written."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9.-]+")
"""What a file's name may not hold: the names of a task and its groups are a user's."""

LOGS: Final = "the evaluation's logs"

_CONFIG: Final = EvalConfig(
    epochs=1,
    fail_on_error=False,
    continue_on_fail=False,
    score_on_error=False,
    sandbox_cleanup=True,
    log_samples=True,
    log_realtime=False,
    log_images=False,
    score_display=False,
)


class ShardLog:
    """Keeps the samples of one task until their log is written.

    Args:
        task: Inspect's task.
        record: What logs record of the task.
        runner: Runs the samples.
        client: The way to the target, which knows its secrets.
        folder: Where logs go.
        run: The id that the logs of one call share.
        form: How logs are written.
    """

    def __init__(
        self,
        task: Task,
        record: TaskRecord,
        runner: SampleRunner,
        client: TargetClient,
        folder: Path,
        *,
        run: str,
        form: LogFormat,
    ) -> None:
        self._task = task
        self._record = record
        self._runner = runner
        self._client = client
        self._folder = folder
        self._run = run
        self._form = form
        self._order = {str(sample.id): at for at, sample in enumerate(task.dataset)}
        self._samples: list[EvalSample] = []
        self._started = datetime.now(UTC)

    @property
    def full(self) -> bool:
        """Whether the samples fill a log."""
        return len(self._samples) >= SAMPLES

    def add(self, ended: EndedSample) -> None:
        """Keeps a sample, without the secrets that its target's client knows."""
        sample, redactor = ended.sample, self._client.redactor
        if any(redactor.known(text) != text for text in ended.said):
            raw = sample.model_dump_json(exclude_none=True).encode("utf-8", "backslashreplace")
            sample = EvalSample.model_validate_json(redactor.json(raw))
        self._samples.append(sample)

    def take(self) -> list[EvalSample]:
        """Hands out the samples that are in no log yet, in the order of the task."""
        samples, self._samples = self._samples, []
        return sorted(samples, key=lambda sample: self._order[str(sample.id)])

    def write(
        self,
        samples: Sequence[EvalSample],
        error: BaseException | None = None,
        *,
        cancelled: bool = False,
    ) -> None:
        """Writes a log.

        Args:
            samples: What it holds.
            error: What ended the asking before its end, if anything did.
            cancelled: Whether the asking was cancelled.

        Raises:
            FileError: The log can't be written.
        """
        made, started = self._log(samples), self._started
        self._started = datetime.now(UTC)
        if cancelled:
            made.status = "cancelled"
        elif error is not None:
            made.status = "error"
            made.error = EvalError(message=str(error), traceback="", traceback_ansi="")
        else:
            add_results(made, self._runner.scorers)
        name = _NOT_IN_NAMES.sub("-", self._task.name)
        stamp = started.isoformat(timespec="seconds").replace(":", "-")
        path = self._folder / f"{stamp}_{name}_{made.eval.task_id}.{self._form}"
        part = path.with_name(f".{path.name}.part")
        with told_of_files(LOGS, path=self._folder):
            own_folder(self._folder)
            try:
                write_eval_log(made, str(part), format=self._form)
                part.chmod(0o600)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def _log(self, samples: Sequence[EvalSample]) -> EvalLog:
        client, task = self._client, self._task
        created, number = self._started.isoformat(timespec="seconds"), uuid4().hex
        used = [sample.model_usage for sample in samples if sample.model_usage]
        spent = [usage for one in used for usage in one.values()]
        return EvalLog(
            status="success",
            eval=EvalSpec(
                eval_id=uuid4().hex,
                run_id=self._run,
                created=created,
                task=task.name,
                task_id=number,
                task_version=task.version,
                task_display_name=task.name,
                dataset=EvalDataset(
                    name=task.dataset.name,
                    samples=len(samples),
                    sample_ids=[sample.id for sample in samples],
                    shuffled=task.dataset.shuffled,
                ),
                model=self._runner.model,
                model_generate_config=logprob_settings(client.logprobs),
                model_base_url=client.base_url,
                model_args=recorded_args(client),
                config=_CONFIG.model_copy(),
                packages={"inspect_ai": version("inspect-ai")},
                metadata=task.metadata,
                scorers=list(self._record.scorers),
                metrics=self._record.metrics,
            ),
            plan=EvalPlan(
                steps=list(self._record.steps),
                config=self._runner.config,
            ),
            stats=EvalStats(
                started_at=created,
                completed_at=datetime.now(UTC).isoformat(timespec="seconds"),
                model_usage=(
                    {self._runner.model: functools.reduce(operator.add, spent)} if spent else {}
                ),
            ),
            samples=list(samples),
        )


def recorded_args(client: TargetClient) -> dict[str, Any]:
    """How a target is asked, as logs record it; the client itself must not get there."""
    return {
        "target": client.target,
        "limits": asdict(client.client.limits),
        "extra_body": client.extra_body,
        "max_tokens_field": client.max_tokens_field,
    }
