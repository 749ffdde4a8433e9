"""Checks of this machine and project.

The first two need no package that may be missing; what needs one is imported inside its check.
"""

from __future__ import annotations

import importlib.metadata as metadata
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from capgate.commands.checks.check import Check, Skip, check_of, own_remedy
from capgate.common.dependencies import (
    SHOWN,
    PackageError,
    check_imports,
    install_remedy,
    requirements,
    version,
)
from capgate.common.errors import ConfigError, FileFault
from capgate.common.private_files import own_folder
from capgate.config.settings import Settings
from capgate.config.store_place import StorePlace

if TYPE_CHECKING:
    from capgate.config.targets import Target, Targets

PYTHON: Final = (3, 11)
_LONG_AGO: Final = 1_700_000_000
"""A time before this was written; a clock that shows less is not set."""


def python() -> Check:
    """Whether this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON:
        return Check("Python", "ok", f"{found} ({sys.executable})")
    wanted = ".".join(map(str, PYTHON))
    return Check(
        "Python",
        "failed",
        f"{found} ({sys.executable}); capgate needs {wanted} or newer",
        f"make install PYTHON=python{wanted}, then use .venv/bin/python",
    )


def packages() -> Check:
    """Whether every package that capgate needs is installed, in a version that fits."""
    missing, old = [], []
    for name, accepts, wanted in requirements():
        found = version(name)
        if found is None:
            missing.append(name)
        elif not accepts(found):
            old.append(f"{name} {found} (needs {wanted})")
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"unfit: {', '.join(old)}"] if old else []

    def find() -> str:
        if parts:
            raise PackageError("; ".join(parts), remedy=install_remedy())
        check_imports()
        return ", ".join(f"{name} {found}" for name in SHOWN if (found := version(name)))

    return check_of("packages", find, remedy=own_remedy)


def plugin() -> Check:
    """Whether pytest finds the plugin."""

    def find() -> str:
        for point in metadata.entry_points(group="pytest11"):
            if point.name == "capgate":
                point.load()
                return f"registered as {point.value}"
        if Path("conftest.py").is_file() and "capgate.plugin" in Path("conftest.py").read_text():
            return "switched on by this folder's conftest.py"
        raise ConfigError("pytest does not know it", remedy=install_remedy())

    return check_of("pytest plugin", find, remedy=own_remedy)


def dotenv(root: Path) -> Check:
    """Whether `.env` can be read; it need not be there."""

    def find() -> str:
        from dotenv.parser import parse_stream

        path = root / ".env"
        if not path.exists():
            raise Skip("there is none (keys are then taken from the environment alone)")
        try:
            lines = list(parse_stream(StringIO(path.read_text(encoding="utf-8"))))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path} can't be read", said=str(error), remedy=f"chmod u+r {quote(str(path))}"
            ) from None
        # The text of a line may be a secret.
        if faults := [
            FileFault(f"line {one.original.line}", "expected NAME=value, quotes closed")
            for one in lines
            if one.error
        ]:
            raise ConfigError(
                f"it has {len(faults)} line{'' if len(faults) == 1 else 's'} that can't be read",
                faults=faults,
                remedy="correct or remove these lines; capgate uses none of them",
            )
        values = {one.key: one.value for one in lines if one.key is not None}
        empty = sorted(name for name, value in values.items() if not (value or "").strip())
        if empty:
            raise ConfigError(
                f"it gives no value to {', '.join(empty)}",
                remedy=f"write {empty[0]}=… into .env, or take the line out",
            )
        return f"{len(values)} variable{'' if len(values) == 1 else 's'}"

    return check_of(".env", find, remedy=own_remedy)


def models_file(settings: Settings, found: list[Targets]) -> Check:
    """Whether the targets' file is valid; puts the targets into `found`."""

    def find() -> str:
        from capgate.config.targets import load_targets

        targets = load_targets(settings.models_file)
        found.append(targets)
        n = len(targets.ids())
        return f"{n} target{'' if n == 1 else 's'}: {', '.join(targets.ids())}"

    return check_of(settings.models_file.name, find, remedy=own_remedy)


def keys(target: Target, base: Target, targets: Targets, known: Mapping[str, str]) -> Check:
    """Whether the target's key variable is set; names those of the other targets."""

    def find() -> str:
        others = {one.api_key_env for one in targets if one.api_key_env} - {base.api_key_env}
        unset = sorted(name for name in others if name and not known.get(name, "").strip())
        also = f" (for other targets, not set: {', '.join(unset)})" if unset else ""
        if base.api_key_env is None:
            return f"{target.id} names none{also}"
        base.api_key(known)
        origin = "environment" if os.environ.get(base.api_key_env) else ".env"
        return f"{base.api_key_env} is set, from the {origin}{also}"

    return check_of("key variable", find, remedy=own_remedy)


def dataset(settings: Settings, target: Target) -> Check:
    """Whether the questions can be loaded."""

    def find() -> str:
        from capgate.benchmarks.mmlu.load import load_questions
        from capgate.benchmarks.mmlu.task import mmlu_task

        source = settings.dataset or target.dataset
        shots = mmlu_task(settings.task, settings.max_tokens).shots
        questions = load_questions(source, shots=shots)
        about = questions.describe()
        return (
            f"{source}: {about['questions']:,} questions of {about['subjects']} subjects"
            f"{f', revision {questions.revision[:7]}' if questions.revision else ''}"
        )

    return check_of("data set", find, remedy=own_remedy)


def thresholds(settings: Settings, target: Target) -> Check:
    """Whether the policy and the floors that are in force for a target have no fault."""

    def find() -> str:
        from capgate.config.thresholds import policy_for

        folder = settings.thresholds_dir
        policy = policy_for(folder, target.id, settings.policy, root=settings.root)
        files = [settings.policy or folder / "policy.yaml", folder / "floors.yaml"]
        read = [file.name for file in files if file.exists()]
        return (
            f"{' and '.join(read) or 'no file, so the defaults'}: a drop of "
            f"{100 * policy.catch:g} points must be caught"
        )

    return check_of("thresholds", find, remedy=own_remedy)


def alerts(settings: Settings) -> Check:
    """Whether alerts can be sent to the configured addresses."""

    def find() -> str:
        from capgate.config.alerts import alert_urls

        urls = alert_urls(settings.root, settings.alerts)
        if not urls:
            raise Skip("no address is configured (--alert, CAPGATE_ALERT_URL, config/alerts.yaml)")
        return f"{len(urls)} address{'' if len(urls) == 1 else 'es'}; nothing was sent there"

    return check_of("alerts", find, remedy=own_remedy)


def reports(settings: Settings) -> Check:
    """Whether results and answers can be written."""

    def find() -> str:
        from capgate.store.open_store import open_store

        folder = settings.output_dir
        try:
            own_folder(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ConfigError(
                f"{folder} can't be written",
                said=error.strerror or str(error),
                remedy=f"chmod u+w {quote(str(folder))}, or name another with --output-dir"
                if folder.is_dir() or not folder.exists()
                else "it is no folder: name another with --output-dir",
            ) from None
        with open_store(settings.store) as store, store.claim("doctor", once=True):
            pass
        if settings.store.kind == "folder":
            _check_segments(settings.store)
        return f"{folder} and {settings.store.name} can be written"

    return check_of("reports", find, remedy=own_remedy)


def _check_segments(place: StorePlace) -> None:
    """Makes sure that a store that is a folder takes files of this machine."""
    try:
        with tempfile.TemporaryFile(dir=place.path):
            pass
    except OSError as error:
        raise ConfigError(
            f"the store {place} can't be written",
            said=error.strerror or str(error),
            remedy=f"chmod u+w {quote(str(place.path))}, or name another with --store",
        ) from None


def clock() -> Check:
    """Whether this machine's clock is set."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    if time.time() < _LONG_AGO:
        return Check("clock", "failed", f"it shows {now} UTC", "sudo timedatectl set-ntp true")
    return Check("clock", "ok", f"{now} UTC")


def rest_skipped(names: Iterator[str], reason: str) -> Iterator[Check]:
    """The checks that can't run, each with the reason."""
    return (Check(name, "skipped", f"not checked: {reason}") for name in names)
