"""Tasks of inspect_evals: which module has one, and whether its data can be loaded at all.

A loader that finds neither the hub nor its cache waits and tries again for minutes. So what is
cached is loaded without the hub, and the hub is tried once before anything else is.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from capgate.benchmarks import hub
from capgate.common.errors import CapgateError, DatasetError

T = TypeVar("T")

PACKAGE: Final = "inspect_evals"
"""The package of upstream's tasks."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")

_EXPORT: Final = (
    "or run `capgate questions export {0} DIR` on a machine that has them, bring that folder, and "
    "pass --dataset DIR"
)


def module_of(task: str) -> str:
    """The module of inspect_evals that has a task; `""` where its name does not tell.

    To import that one module takes less than to have Inspect import all of them.

    Args:
        task: Such as `arc_easy`.
    """
    parts = task.split("_")
    names = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if importlib.util.find_spec(f"{PACKAGE}.{name}")), "")


def import_module(task: str) -> None:
    """Imports the module that has a task, where its name tells which."""
    if module := module_of(task):
        importlib.import_module(f"{PACKAGE}.{module}")


def revision_of(module: str) -> str:
    """The commit of the hub's data set that a module pins; `""` where it names none or several."""
    with contextlib.suppress(ImportError):
        names = vars(importlib.import_module(f"{PACKAGE}.{module}.{module}")) if module else {}
        pinned = {
            value
            for name, value in names.items()
            if name.endswith("_REVISION") and _COMMIT.fullmatch(str(value))
        }
        return pinned.pop() if len(pinned) == 1 else ""
    return ""


def sources_of(module: str) -> Sequence[str]:
    """The data sets on the hub that a module says it loads; empty where it says nothing."""
    return _assets(module, "HUGGINGFACE")


def _assets(module: str, kind: str) -> Sequence[str]:
    # A task that is not described is loaded as its function does it.
    with contextlib.suppress(Exception):
        from inspect_evals.metadata import AssetType, load_eval_metadata

        assets = load_eval_metadata(module).external_assets or [] if module else []
        return [one.source for one in assets if one.type is AssetType[kind]]
    return ()


def load(benchmark: str, task: str, arguments: Mapping[str, Any], make: Callable[[], T]) -> T:
    """Makes a task in such a way that loading its data can't hang.

    Args:
        benchmark: Its name, for messages.
        task: Its name in inspect_evals.
        arguments: Its arguments, one of which may name a configuration of the data set.
        make: Makes it.

    Raises:
        DatasetError: Its data are neither cached nor within reach.
    """
    import_module(task)
    module = module_of(task)
    sources = sources_of(module)
    _check_downloads(benchmark, module)
    with hub.quiet():
        if not sources or hub.is_offline():
            return _made(benchmark, make)
        cached = {source: hub.cached_configurations(source) for source in sources}
        named = {value for value in arguments.values() if isinstance(value, str)}
        if any(len(found) == 1 or named & set(found) for found in cached.values()):
            with contextlib.suppress(DatasetError), hub.offline():
                return _made(benchmark, make)
        if said := hub.what_stops(sources[0]):
            if not any(cached.values()):
                raise _not_loaded(benchmark, said)
            # The cache may hold what the task asks for; its own words tell where it does not.
            with hub.offline():
                return _made(benchmark, make)
        return _made(benchmark, make)


def _made(benchmark: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except CapgateError:
        raise
    except Exception as error:
        raise _not_loaded(benchmark, _words(error)) from error


def _words(error: BaseException) -> str:
    """What went wrong first: a loader that tried several times tells only that."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _check_downloads(benchmark: str, module: str) -> None:
    """Makes sure that files which are no data sets of the hub are here, or can be had.

    Raises:
        DatasetError: They are neither.
    """
    urls = _assets(module, "DIRECT_URL")
    if not urls:
        return
    from inspect_evals.constants import INSPECT_EVALS_CACHE_PATH

    folder = INSPECT_EVALS_CACHE_PATH / module
    if any(folder.glob("*")):
        # The task itself compares them with what they should be.
        return
    if said := hub.what_stops_url(urls[0]):
        raise DatasetError(
            f"the questions of {benchmark} can't be loaded from {urls[0]}",
            said=said,
            remedy=f"run once with network access, so that they are kept in {folder} "
            f"(INSPECT_EVALS_CACHE_DIR names another place), {_EXPORT.format(benchmark)}",
        )


def _not_loaded(benchmark: str, said: str) -> DatasetError:
    return DatasetError(
        f"the questions of {benchmark} can't be loaded",
        said=said,
        remedy="run once with network access so that they are cached (HF_HOME keeps what comes "
        f"from the hub), {_EXPORT.format(benchmark)}",
    )
