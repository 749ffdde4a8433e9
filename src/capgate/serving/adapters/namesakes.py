"""Compares an adapter that the server lists with a local folder of the same name.

A user who names an adapter may mean the one on the server or the folder. If the two differ,
capgate judges neither until the user says which one is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shlex import quote

from capgate.common.errors import AdapterError
from capgate.common.event_loop import in_own_loop
from capgate.config.targets import Target
from capgate.serving.adapters.loaded import LoadedAdapter
from capgate.serving.adapters.sources import (
    AdapterFolder,
    Source,
    find_folder,
    find_source,
    read_folder,
)
from capgate.serving.ask_signature import ask_prompts, ask_signature
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.weights import youngest
from capgate.serving.observation import process_start
from capgate.serving.signature import difference


def beside_its_folder(
    target: Target,
    found: Endpoint,
    root: str,
    load: Callable[[Source], LoadedAdapter],
) -> Endpoint | LoadedAdapter:
    """The adapter to judge if the server lists one by the name that the user gave.

    Args:
        target: The adapter's target.
        found: The adapter on the server.
        root: The path that the server says it loaded it from.
        load: Loads a folder as another adapter.

    Returns:
        The adapter on the server; or the folder, loaded under the hash of its content, if both
        have the same weights.

    Raises:
        AdapterError: The folder holds other weights.
        RequestFault: The server gave no usable answer.
    """
    name = found.model
    here = readable_folder(find_folder(name), target.id)
    there = readable_folder(Path(root) if root else None, target.id)
    where = f", loaded from {root}" if root else ""
    judged = f"judged is what the server has as {name}{where}; it is asked anew in each run"
    if here is None:
        return _noted(found, f"{judged}. To keep its answers, name its folder")
    shown = f"the folder {here.path}"
    if there is None:
        return _noted(found, f"{judged}. {shown} is not looked at; to judge that, name its path")
    if there.digest != here.digest:
        raise _differ(target, found, where, here, f"{there.path} holds other files")
    try:
        adapter = load(find_source(name, str(here.path), target=target.id))
    except AdapterError:
        # The server loads no adapters at run time, so it loaded this one when it started.
        started = process_start(found)
        if started is not None and youngest(there.path) > started:
            how = "its files were written after the server had started, which then loads no others"
            raise _differ(target, found, where, here, how) from None
        return _noted(found, judged)
    how = in_own_loop(lambda: _difference(found, adapter.endpoint))
    if how:
        raise _differ(target, found, where, here, f"its weights answer otherwise ({how})")
    return adapter


def readable_folder(path: Path | None, target: str) -> AdapterFolder | None:
    """An adapter's folder; None if there is none or it is not readable."""
    if path is None:
        return None
    try:
        return read_folder(path, target)
    except AdapterError:
        return None


async def _difference(one: Endpoint, other: Endpoint) -> str:
    """How the answers of two adapters of one server differ, as a clause; `""` if they do not."""
    first = await ask_signature(one)
    second = tuple(await ask_prompts(other, first.prompts, first.fields))
    return difference(replace(first, answers=second), first)


def _noted(endpoint: Endpoint, note: str) -> Endpoint:
    return replace(endpoint, notes=(*endpoint.notes, note))


def _differ(
    target: Target, found: Endpoint, where: str, here: AdapterFolder, how: str
) -> AdapterError:
    return AdapterError(
        f"the server's {found.model}{where}, is not what the folder {here.path} holds: {how}",
        target=target.id,
        remedy=f"to judge the folder, name its path: --adapter-name {quote(str(here.path))}; "
        f"to judge what the server has, move the folder away or load it there under another name",
    )
