"""What an eval of short questions can be spared, beyond Inspect's public interface.

Each shortcut is for itself, changes nothing that is logged, and is left out where Inspect has
changed what it goes by.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from inspect_ai.hooks import Hooks
from inspect_ai.log import Transcript
from inspect_ai.model import Model

from capgate.asking.inspect_backend.provider import CapgateAPI

_QUIET: Final = ("inspect_ai.model._model", "inspect_ai.log._recorders.eval")

_IMPORTED_LATE: Final = (
    "inspect_ai.agent._acp.server",
    "inspect_ai.model._openai_responses",
    "inspect_ai.solver._transcript",
)
"""What Inspect imports when its first eval runs, a second's worth."""

_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values are their own copies."""


def warm_up() -> None:
    """Imports ahead of time what the first eval would; what Inspect has moved is left to it."""
    for name in _IMPORTED_LATE:
        with contextlib.suppress(ImportError):
            import_module(name)


@contextlib.contextmanager
def shortcuts(asked: Sequence[object], *, timed: bool) -> Iterator[None]:
    """Takes all shortcuts for the length of a block.

    Args:
        asked: The models; a client with retries of its own needs none of Inspect's.
        timed: Samples may have a limit of working time.
    """
    with contextlib.ExitStack() as taken:
        taken.enter_context(_nobody_attached())
        taken.enter_context(_no_traces())
        taken.enter_context(_no_table())
        taken.enter_context(_no_watchers(timed=timed))
        taken.enter_context(_no_retries(asked))
        taken.enter_context(_no_threads_to_compress())
        taken.enter_context(_template_once())
        taken.enter_context(_signatures_once())
        taken.enter_context(_quick_ids())
        taken.enter_context(_quick_copies())
        yield


def let_go(ended: Transcript) -> None:
    """Breaks the cycles of a sample's transcript, so that it is freed at once."""
    for name in ("_events_view", "_history", "_attachment_refs_counter", "_message_refs_counter"):
        vars(ended).pop(name, None)


@contextlib.contextmanager
def _nobody_attached() -> Iterator[None]:
    """Spares the live channel to editors.

    Each sample opens a session for editors that might attach to it and translates every
    event for them. A session that is open further out makes it a no-op; the flag for it
    is a private context variable.
    """
    try:
        flag: Any = import_module("inspect_ai.agent._acp.transport")._acp_live_active
    except (ImportError, AttributeError):
        flag = None
    if not isinstance(flag, contextvars.ContextVar):
        yield
        return
    before = flag.set(True)
    try:
        yield
    finally:
        flag.reset(before)


@contextlib.contextmanager
def _no_traces() -> Iterator[None]:
    """Spares trace records, which are made before a level drops them."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _no_table() -> contextlib.AbstractContextManager[None]:
    """Spares the table of results, which Inspect lays out even where nothing is displayed."""
    return _replaced("inspect_ai._display.rich.display", "tasks_results", lambda _: lambda _: "")


@contextlib.contextmanager
def _no_watchers(*, timed: bool) -> Iterator[None]:
    """Spares each sample two asyncio tasks that it cancels in the end.

    One looks each second whether a limit of working time has passed, also where none is set;
    the other hands each event to hooks that want events. A cancelled task is part of a cycle
    with its traceback, so that all the sample's objects are left to the collector.
    """
    with contextlib.ExitStack() as replaced:
        if not timed:
            replaced.enter_context(_idle("inspect_ai._eval.task.run", "monitor_working_limit"))
        if not _events_wanted():
            replaced.enter_context(_idle("inspect_ai.hooks._hooks", "start_sample_event_emitter"))
        yield


def _events_wanted() -> bool:
    """Whether hooks that somebody has installed take the events of samples."""
    try:
        registered: Any = import_module("inspect_ai.hooks._hooks").get_all_hooks()
    except (ImportError, AttributeError):
        return True
    return any(
        one.enabled() and type(one).on_sample_event is not Hooks.on_sample_event
        for one in registered
    )


def _no_retries(asked: Sequence[object]) -> contextlib.AbstractContextManager[None]:
    """Spares each request a policy of retries, where the client has one of its own.

    Two of its objects are in cycles, with the request and all that came of it.
    """
    if all(isinstance(one, Model) and isinstance(one.api, CapgateAPI) for one in asked):
        return _replaced(
            "inspect_ai.model._model", "retry", lambda _: lambda **_: lambda function: function
        )
    return contextlib.nullcontext()


def _no_threads_to_compress() -> contextlib.AbstractContextManager[None]:
    """Spares each part of a log the dozen threads that compress it, a few kilobytes."""
    return _replaced("inspect_ai._util.zipfile", "_ZSTD_THREADS", lambda _: 0)


def _template_once() -> contextlib.AbstractContextManager[None]:
    """Spares each sample the search for a file whose name is the prompt's template."""

    def once(find: Callable[..., str]) -> Callable[..., str]:
        found = functools.cache(find)
        return lambda *template, **how: find(*template, **how) if how else found(*template)

    return _replaced("inspect_ai.solver._multiple_choice", "resource", once)


def _signatures_once() -> contextlib.AbstractContextManager[None]:
    """Spares each sample what its solvers' parameters are called, found anew for each."""

    def once(plain: ModuleType) -> object:
        found = functools.lru_cache(maxsize=64)(plain.signature)

        def signature(of: Callable[..., object]) -> object:
            try:
                return found(of)
            except TypeError:  # it has no hash
                return plain.signature(of)

        return SimpleNamespace(**{**vars(plain), "signature": signature})

    return _replaced("inspect_ai._util.registry", "inspect", once)


def _quick_ids() -> contextlib.AbstractContextManager[None]:
    """Spares each id half of its divisions; a sample and its events have some thirty."""

    def by_pairs(_: object) -> Callable[..., str]:
        # Both in one, since another thread may make ids meanwhile.
        held: tuple[list[str], list[str]] = ([], [])

        def digits(number: int, alphabet: list[str], padding: int | None = None) -> str:
            nonlocal held
            known, pairs = held
            if alphabet is not known:
                pairs = [low + high for high in alphabet for low in alphabet]
                held = alphabet, pairs
            found = []
            while number:
                number, pair = divmod(number, len(pairs))
                found.append(pairs[pair])
            text = "".join(found)
            if text.endswith(alphabet[0]):
                text = text[:-1]
            return text.ljust(padding or 0, alphabet[0])[::-1]

        return digits

    return _replaced("shortuuid.main", "int_to_string", by_pairs)


@contextlib.contextmanager
def _quick_copies() -> Iterator[None]:
    """Spares dictionaries of plain values two calls for each value that needs no copy.

    A sample copies its state twice and its settings, of some sixty fields, four times.
    """
    copiers: Any = getattr(copy, "_deepcopy_dispatch", {})
    before = copiers.get(dict)
    if before is None:
        yield
        return
    copiers[dict] = _copied
    try:
        yield
    finally:
        copiers[dict] = before


def _copied(old: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    """What `copy.deepcopy` makes of a dictionary."""
    new: dict[Any, Any] = {}
    memo[id(old)] = new
    for key, value in old.items():
        key = key if type(key) in _ATOMS else copy.deepcopy(key, memo)
        new[key] = value if type(value) in _ATOMS else copy.deepcopy(value, memo)
    return new


def _idle(module: str, name: str) -> contextlib.AbstractContextManager[None]:
    """Has a module's function, which takes nothing and returns nothing, do nothing."""
    return _replaced(module, name, lambda _: lambda: None)


@contextlib.contextmanager
def _replaced(module: str, name: str, by: Callable[[Any], object]) -> Iterator[None]:
    """Puts something else in the place of a module's member, where there is such a one.

    Args:
        module: The module.
        name: The member.
        by: What to put there, given what was there before.
    """
    try:
        found: Any = import_module(module)
        before = getattr(found, name)
    except (ImportError, AttributeError):
        yield
        return
    setattr(found, name, by(before))
    try:
        yield
    finally:
        setattr(found, name, before)
