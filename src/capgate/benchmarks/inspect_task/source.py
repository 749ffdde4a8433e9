"""Where an Inspect task comes from, and how it is made: by its registered name, or of a file.

A task's function loads its data as well, so making one may reach the network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.inspect_task import upstream
from capgate.common.errors import CapgateError, ConfigError, DatasetError

if TYPE_CHECKING:
    from types import ModuleType

    from inspect_ai import Task

_lock: Final = threading.RLock()
"""Tasks are made one at a time: a file's task is made in its own folder."""


@dataclass(frozen=True)
class TaskSource:
    """An Inspect task, named as an entry of `config/benchmarks.yaml` names it.

    Attributes:
        benchmark: The entry's name, for messages.
        spec: The registered name, or `FILE.py@NAME`.
        arguments: The task's arguments, as JSON with sorted keys.
        root: The project's folder, which a file is relative to.
        requires: Python module that the task needs, and how one gets it.
    """

    benchmark: str
    spec: str
    arguments: str
    root: Path
    requires: tuple[tuple[str, str], ...] = ()

    @cached_property
    def file(self) -> Path | None:
        """The user's file that has the task; None for a registered one."""
        path, at, _ = self.spec.rpartition("@")
        if not at and self.spec.endswith(".py"):
            path = self.spec
        return (self.root / path).resolve() if path else None

    @property
    def name(self) -> str:
        """The task's own name; `""` where the only task of a file is meant."""
        if self.file is not None:
            return self.spec.rpartition("@")[2] if "@" in self.spec else ""
        return self.spec.rpartition("/")[2]

    @property
    def is_upstreams(self) -> bool:
        """Whether it is a task of inspect_evals, whose data are pinned."""
        return self.file is None and self.spec.startswith(f"{upstream.PACKAGE}/")

    def make(self) -> Task:
        """Makes the task anew, with its data.

        Raises:
            ConfigError: There is no such task, it can't be made with these arguments, or a
                package that it needs is missing.
            DatasetError: Its data can't be loaded.
        """
        for module, how in self.requires:
            if importlib.util.find_spec(module) is None:
                raise ConfigError(
                    f"the benchmark {self.benchmark} needs the Python package {module}, which is "
                    "not installed",
                    remedy=f"install it ({how}), or leave the benchmark out",
                )
        with _lock:
            if self.file is not None:
                return self._of_file(self.file)
            return self._of_package()

    def import_module(self) -> None:
        """Imports what has the task, so that Inspect knows its solvers and scorers.

        Raises:
            ConfigError: It is not there, or can't be imported.
        """
        with _lock:
            if self.file is not None:
                with _in_folder_of(self.file), redirect_stdout(io.StringIO()):
                    self._module(self.file)
            elif self.is_upstreams:
                upstream.import_module(self.name)

    def _arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.arguments))

    def _of_package(self) -> Task:
        package = self.spec.partition("/")[0]
        if self.is_upstreams:
            return upstream.load(self.benchmark, self.name, self._arguments(), self._registered)
        if "/" in self.spec and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"the benchmark {self.benchmark} names the task {self.spec}, and the package "
                f"{package} is not installed",
                remedy=f"install it, or correct `task` of {self.benchmark}",
            )
        try:
            return self._registered()
        except CapgateError:
            raise
        except Exception as error:
            raise self._not_made(error) from error

    def _registered(self) -> Task:
        from inspect_ai.util import registry_create

        try:
            made = registry_create("task", self.spec, **self._arguments())
        except LookupError as error:
            if "not found in the registry" not in str(error):
                raise
            raise ConfigError(
                f"the benchmark {self.benchmark} names the task {self.spec}, which Inspect does "
                "not know",
                remedy="give PACKAGE/NAME for a package's task, or FILE.py@NAME for your own",
            ) from None
        except TypeError as error:
            raise self._refused(error) from error
        return self._checked(made)

    def _of_file(self, path: Path) -> Task:
        # What a file prints would stand within a command's own output.
        with _in_folder_of(path), redirect_stdout(io.StringIO()):
            task = self._function(path)
            try:
                made = task(**self._arguments())
            except CapgateError:
                raise
            except TypeError as error:
                if _last_line(error, path):
                    raise self._not_made(error) from error
                raise self._refused(error, _parameters(task)) from error
            except Exception as error:
                if not _last_line(error, path):
                    # Inspect's decorator marks what the function has returned.
                    raise self._no_task(type(error).__name__) from error
                raise self._not_made(error) from error
        return self._checked(made)

    def _function(self, path: Path) -> Callable[..., Any]:
        """The function in the user's file that makes the task."""
        module = self._module(path)
        tasks = dict(_tasks_in(module))
        if not self.name:
            if len(tasks) == 1:
                return next(iter(tasks.values()))
            known = ", ".join(f"{self.spec}@{name}" for name in tasks) or "none"
            raise ConfigError(
                f"the benchmark {self.benchmark} names the file {self.spec}, which has "
                f"{len(tasks)} tasks",
                remedy=f"name one of them: {known}",
            )
        if self.name in tasks:
            return tasks[self.name]
        if not tasks:
            remedy = "decorate the function that makes it with @task of inspect_ai"
        else:
            near = get_close_matches(self.name, tasks, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"it has {', '.join(tasks)}"
        raise ConfigError(
            f"the benchmark {self.benchmark} names the task {self.name} of "
            f"{self._shown(path)}, which has none of that name",
            remedy=remedy,
        )

    def _module(self, path: Path) -> ModuleType:
        """The user's file as a module; imported once in a process."""
        name = f"capgate_task_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        if not path.is_file():
            raise ConfigError(
                f"the benchmark {self.benchmark} names a task of {self._shown(path)}, which does "
                "not exist",
                remedy="give its path from the project's root, such as evals/support.py@tickets",
            )
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{self._shown(path)} can't be imported as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise ConfigError(
                f"the benchmark {self.benchmark}'s file {self._at(error, path)} can't be imported",
                said=f"{type(error).__name__}: {_words(error)}",
                remedy="correct it; it must import as it does under `inspect eval`",
            ) from error
        return module

    def _checked(self, made: object) -> Task:
        from inspect_ai import Task

        if isinstance(made, Task):
            return made
        raise self._no_task(type(made).__name__)

    def _no_task(self, found: str) -> ConfigError:
        return ConfigError(
            f"the benchmark {self.benchmark} names {self.spec}, which makes no Task of Inspect's "
            f"({found})",
            remedy="return Task(…) from the function that @task decorates",
        )

    def _refused(self, error: Exception, known: tuple[str, ...] = ()) -> ConfigError:
        given = ", ".join(self._arguments()) or "none"
        takes = f"; it takes {', '.join(known)}" if known else ""
        return ConfigError(
            f"the task {self.spec} can't be made with the arguments of the benchmark "
            f"{self.benchmark} ({given}){takes}",
            said=str(error),
            remedy=f"correct `args` of {self.benchmark}",
        )

    def _not_made(self, error: Exception) -> CapgateError:
        """What a task's own function raised."""
        said = f"{type(error).__name__}: {_words(error)}"
        if self.file is not None:
            return ConfigError(
                f"the task of the benchmark {self.benchmark} can't be made: "
                f"{self._at(error, self.file)} failed",
                said=said,
                remedy="correct it; paths in it are taken from its own folder",
            )
        return DatasetError(
            f"the task {self.spec} of the benchmark {self.benchmark} can't be made",
            said=said,
            remedy="make sure that its data can be reached, and see its package's documentation",
        )

    def _at(self, error: BaseException, path: Path) -> str:
        line = _last_line(error, path)
        return f"{self._shown(path)}{f', line {line}' if line else ''}"

    def _shown(self, path: Path) -> str:
        root = self.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """A task's arguments as JSON with sorted keys, as `TaskSource` holds them."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def _tasks_in(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each task that a file makes itself, by its name."""
    from inspect_ai.util import registry_info

    for value in list(vars(module).values()):
        try:
            info = registry_info(value)
        except ValueError:
            continue
        if info.type == "task" and getattr(value, "__module__", "") == module.__name__:
            yield info.name.rpartition("/")[2], value


def _parameters(task: object) -> tuple[str, ...]:
    from inspect_ai.util import registry_info

    return tuple(map(str, registry_info(task).metadata.get("params", ())))


def _last_line(error: BaseException, path: Path) -> int:
    """The line of a file at which an error arose, or that is no Python; 0 where it is elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno or 0 for f in reversed(frames) if f.filename == str(path)), 0)


def _words(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


@contextmanager
def _in_folder_of(path: Path) -> Iterator[None]:
    """A block in which a task's file finds its neighbours, as it does under `inspect eval`.

    Its folder goes on to be searched for modules, behind all others: a task may import them later.
    """
    folder = str(path.parent)
    before = Path.cwd()
    sys.path.insert(0, folder)
    try:
        if path.parent.is_dir():
            os.chdir(folder)
        yield
    finally:
        os.chdir(before)
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
