"""Which targets a run judges, and what the run is called."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence

from capgate.common.errors import ConfigError
from capgate.config.settings import Settings
from capgate.config.targets import Target, Targets, load_targets


def run_targets(
    settings: Settings, further: Sequence[str] = ()
) -> tuple[dict[str, Target], dict[str, Target]]:
    """The targets that a run was asked to judge, and those that only take part.

    The latter are the bases of adapters, and `further`.

    Raises:
        ConfigError: The file has faults, an id is unknown, or `--ray` has nothing to start.
    """
    targets: Targets = load_targets(settings.models_file)
    ids = settings.model_ids
    if not ids:
        names = settings.adapter_names
        ids = (targets.base_for(names[0]) if names else targets.default().id,)
    if settings.adapter_names:
        if len(ids) != 1:
            raise ConfigError(
                f"--adapter-name needs its base: one --model-id, not {len(ids)}",
                remedy="capgate run --model-id BASE --adapter-name NAME",
            )
        chosen = _adapters(targets, ids[0], settings.adapter_names)
    else:
        chosen = [targets.get(target) for target in ids]
    for target in chosen:
        ceiling = target.max_output_tokens
        if ceiling is not None and settings.max_tokens > ceiling:
            raise ConfigError(
                f"--max-tokens {settings.max_tokens} is above its max_output_tokens of {ceiling}",
                target=target.id,
                remedy=f"ask for at most {ceiling}, or raise max_output_tokens in "
                f"{settings.models_file.name}",
            )
    others = [targets.get(target) for target in further]
    bases = [targets.get(t.adapter_of) for t in (*chosen, *others) if t.adapter_of]
    mine = {t.adapter_of or t.id for t in chosen}
    at = settings.endpoints
    judged = {t.id: _answering_at(at, t) for t in chosen}
    beside = {t.id: _answering_at(at if t.id in mine else (), t) for t in (*bases, *others)}
    if settings.ray and not any(one.serve for one in (*judged.values(), *beside.values())):
        raise ConfigError(
            "--ray starts servers, and no target of this run has one that is to be started",
            target=chosen[0].id,
            remedy="leave --ray out, or say in a serve block how the server is started",
        )
    return judged, beside


def _answering_at(urls: Sequence[str], target: Target) -> Target:
    """A target whose servers are those at some URLs; as it is where there are none."""
    if not urls or target.adapter_of:
        return target
    if target.provider == "openrouter":
        raise ConfigError(
            "--endpoints names servers, and OpenRouter chooses its servers by itself",
            target=target.id,
            remedy="leave --endpoints out, or name the servers' target with --model-id",
        )
    place = urls[0] if len(urls) == 1 else tuple(urls)
    return target.model_copy(update={"base_url": place, "serve": None})


def _adapters(targets: Targets, base: str, names: Sequence[str]) -> list[Target]:
    """The adapters' targets; where paths end alike, with as many parts as tell them apart."""
    parts = dict.fromkeys(names, 1)
    while True:
        made = {name: targets.adapter(base, name, parts=n) for name, n in parts.items()}
        count = Counter(target.id for target in made.values())
        alike = [name for name, target in made.items() if count[target.id] > 1]
        if not alike:
            return list(made.values())
        longer = {name: parts[name] + 1 for name in alike}
        if all(
            targets.adapter(base, name, parts=n).id == made[name].id for name, n in longer.items()
        ):
            raise ConfigError(
                f"the adapters {' and '.join(alike)} can't be told apart: each would be called "
                f"{made[alike[0]].id}",
                remedy="name each adapter once, or rename a folder",
            )
        parts |= longer


def new_run_id(now: float | None = None) -> str:
    """An id for a run: its start in UTC, to a 65,536th of a second, and random digits.

    Ids sort by time, also those of one second, and are enough for thousands of machines that
    begin together.
    """
    at = time.time() if now is None else now
    fraction = int(at % 1 * 2**16)
    started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    return f"{started}-{fraction:04x}{secrets.token_hex(3)}"
