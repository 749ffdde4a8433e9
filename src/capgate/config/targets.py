"""`config/models.yaml`: the targets, read once and checked whole.

Every fault of the file is reported at once, each with its entry, its key, what was
expected and, for a misspelt key, the nearest known one. Nothing secret may stand in the
file: a key is named by the environment variable that holds it (`api_key_env`).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Final

from dotenv import dotenv_values
from pydantic import ValidationError

from capgate.common.errors import ConfigError, FileFault
from capgate.common.secret_forms import without_tokens
from capgate.common.validation import explain
from capgate.common.yaml_file import (
    literal_secrets,
    names_in_quotes,
    read_yaml_mapping,
)
from capgate.config.server_urls import redact_url
from capgate.config.target import (
    ENGINES,
    AnswerFormat,
    LlamaCppServe,
    Target,
    VllmServe,
    clashes,
)

__all__ = [
    "AnswerFormat",
    "LlamaCppServe",
    "Target",
    "Targets",
    "VllmServe",
    "connections_of",
    "environment",
    "load_targets",
    "redact_url",
]

_ABSENT: Final = (
    "run from the project's root, name the file (--models-file FILE), or write one with: "
    "capgate init"
)

_HINTS: Final = 20
"""Faults of a file after which no nearest name is looked for."""

_TARGET_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Targets:
    """The targets of one file, by id."""

    def __init__(self, path: Path, entries: Mapping[str, Target]) -> None:
        self.path = path
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[Target]:
        return iter(self._entries.values())

    def ids(self) -> tuple[str, ...]:
        """All ids, in the file's order."""
        return tuple(self._entries)

    def get(self, target_id: str) -> Target:
        """The target of that id.

        Raises:
            ConfigError: There is none; names the nearest ones.
        """
        entry = self._entries.get(target_id)
        if entry is not None:
            return entry if entry.adapter_of is None else self._inherited(entry)
        near = difflib.get_close_matches(target_id, self._entries, n=3, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self._entries)}"
        )
        raise ConfigError(
            f"there is no model id {target_id!r} in {self.path}",
            remedy=f"{hint} (capgate list-models shows all, docs/configuration.md how to add one)",
        )

    def _inherited(self, entry: Target) -> Target:
        """An adapter's entry, with what it leaves open taken from its base."""
        assert entry.adapter_of is not None
        own = {name: getattr(entry, name) for name in entry.model_fields_set}
        server = {"base_url": None, "serve": None, "api_key_env": None, "default": False}
        name = {"model_name": entry.model_name or entry.id}
        return self._entries[entry.adapter_of].model_copy(update={**server, **own, **name})

    def adapter(self, base_id: str, name: str, *, parts: int = 1) -> Target:
        """The target of an adapter: an entry of that name, or a new one.

        Args:
            base_id: Id of its base.
            name: An entry's id, a name on the server, or a folder.
            parts: How many of a path's last parts the id has of a new one.

        Raises:
            ConfigError: There is no such base, or the entry belongs to another one.
        """
        base = self.get(base_id)
        if base.adapter_of is not None:
            raise ConfigError(
                f"{base_id} is itself an adapter of {base.adapter_of}",
                remedy=f"name the base: --model-id {quote(base.adapter_of)}",
            )
        entry = self._entries.get(name)
        if entry is not None and entry.adapter_of is not None:
            if entry.adapter_of != base_id:
                raise ConfigError(
                    f"the adapter {name} belongs to {entry.adapter_of}, not to {base_id}",
                    remedy=f"use --model-id {quote(entry.adapter_of)}",
                )
            return self.get(name)
        path = "/".join(name.rstrip("/").split("/")[-parts:])
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-.")
        return base.model_copy(
            update={
                "id": f"{base_id}+{short or 'adapter'}",
                "model_name": name,
                "adapter_of": base_id,
                "base_url": None,
                "serve": None,
                "api_key_env": None,
                "default": False,
                "description": f"adapter {name} of {base_id}",
            }
        )

    def base_for(self, adapter: str) -> str:
        """The id of the base that an adapter named without one belongs to.

        Its entry says it; else it is the file's first target that can hold adapters.

        Raises:
            ConfigError: There is no such target.
        """
        entry = self._entries.get(adapter)
        if entry is not None and entry.adapter_of is not None:
            return entry.adapter_of
        for target in self:
            started = target.serve is not None and target.serve.engine != "vllm"
            if target.adapter_of is None and target.provider != "openrouter" and not started:
                return target.id
        raise ConfigError(
            f"--adapter-name {adapter} needs its base, and no target of {self.path} can hold "
            "adapters",
            remedy="add the vLLM server that holds it, and name that with --model-id",
        )

    def default(self) -> Target:
        """The target that runs where none is named.

        Raises:
            ConfigError: No entry is marked `default: true`.
        """
        for target in self._entries.values():
            if target.default:
                return target
        raise ConfigError(
            f"no entry of {self.path} is marked default: true",
            remedy="name a target with --model-id ID",
        )


def connections_of(target: Target, targets: Mapping[str, Target]) -> int:
    """How many requests to a target may be in flight at a time, at all its endpoints together.

    Args:
        target: The target.
        targets: Id to target, with the base of an adapter among them.
    """
    server = targets.get(target.adapter_of or "", target)
    return target.max_connections * max(1, len(server.urls), server.replicas)


def load_targets(path: Path) -> Targets:
    """Reads and checks a `models.yaml`.

    Args:
        path: The file.

    Returns:
        Its targets.

    Raises:
        ConfigError: With every fault of the file.
    """
    raw = read_yaml_mapping(path, what="the targets", absent=_ABSENT)
    faults: list[FileFault] = []
    entries: dict[str, Target] = {}
    for name, body in raw.items():
        if not isinstance(name, str) or not _TARGET_ID.fullmatch(name):
            faults.append(FileFault(str(name), "an id has letters, digits, '.', '_' and '-' only"))
            continue
        if quoted := names_in_quotes([name]):
            faults += quoted
            continue
        if not isinstance(body, dict):
            faults.append(FileFault(name, f"expected keys and values, got {type(body).__name__}"))
            continue
        secrets = list(literal_secrets(name, body))
        faults.extend(secrets)
        if "id" in body:
            faults.append(FileFault(f"{name}.id", "unknown key; the entry's name is its id"))
        faults.extend(clashes(name, body))
        try:
            entries[name] = Target.model_validate({**body, "id": name})
        except ValidationError as error:
            secret_places = {fault.place for fault in secrets}
            faults.extend(
                fault
                for fault in explain(error, prefix=name, model=Target, variants=ENGINES)
                if fault.place not in secret_places
            )
    for target in entries.values():
        if target.adapter_of is None:
            continue
        base = entries.get(target.adapter_of)
        place = f"{target.id}.adapter_of"
        if target.adapter_of not in raw:
            # To compare every name with every other takes minutes in a large file.
            names = [str(key) for key in raw] if len(faults) < _HINTS else []
            near = difflib.get_close_matches(target.adapter_of, names, n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            faults.append(FileFault(place, f"no entry named {target.adapter_of!r}{hint}"))
        elif base is not None and base.adapter_of is not None:
            faults.append(FileFault(place, f"{base.id} is itself an adapter; name a base model"))
    defaults = [target.id for target in entries.values() if target.default]
    if len(defaults) > 1:
        faults.append(FileFault("default", f"only one entry may be the default: {defaults}"))
    if not raw:
        faults.append(FileFault("file", "it has no entries"))
    if faults:
        raise ConfigError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=[FileFault(without_tokens(f.place), without_tokens(f.what)) for f in faults],
            remedy="docs/configuration.md describes every key",
        )
    return Targets(path, entries)


def environment(root: Path) -> dict[str, str]:
    """The process's environment over the `.env` of `root`; the former wins.

    Raises:
        ConfigError: The file can't be read.
    """
    file = root / ".env"
    try:
        dotenv = {name: value for name, value in dotenv_values(file).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        # Of a text that can't be decoded, the error itself would show a piece.
        said = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"{file} can't be read", said=said, remedy="save it as UTF-8") from None
    return {**dotenv, **os.environ}
