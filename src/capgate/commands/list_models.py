"""`capgate list-models`: the targets of `config/models.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from capgate.commands.options import add_json
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.output import Output
from capgate.common.text import one_line
from capgate.config.secrets import redactor_of_files
from capgate.config.targets import Target, Targets, environment, load_targets
from capgate.report.text.table_lines import lines_of
from capgate.serving import running_servers
from capgate.serving.adapters.served_names import names_on
from capgate.serving.adapters.sources import find_folder
from capgate.serving.connect import left_running, list_models
from capgate.serving.endpoint import Endpoint
from capgate.serving.servers import Servers

MODELS_FILE: Final = "config/models.yaml"
_PIPE_WIDTH: Final = 220


@dataclass(frozen=True, slots=True)
class Listed:
    """A target's row in the list.

    Attributes:
        id: Its id.
        default: Whether a run without `--model-id` takes it.
        provider: The service that runs its server.
        model: The name that requests carry.
        host: Host and port of its URL, or how it is started.
        adapter_of: For an adapter, its base's id.
        key_variable: The variable that holds its key.
        key_set: Whether that is set; None where no key is named.
        description: Its description in the file.
        reachable: Whether its server answers and serves it; None where that was not checked.
        finding: The result of the check, in words.
    """

    id: str
    default: bool
    provider: str
    model: str
    host: str
    adapter_of: str | None
    key_variable: str | None
    key_set: bool | None
    description: str
    reachable: bool | None = None
    finding: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--models-file", type=Path, default=Path(MODELS_FILE), metavar="FILE")
    parser.add_argument(
        "--provider", metavar="NAME", help="only the targets of this provider, such as openrouter"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser, *, listing: bool = False) -> None:
    """Adds the options of a listing, with `--list-models` itself for a command of other use."""
    if listing:
        parser.add_argument("--list-models", action="store_true", help="list the models and exit")
    suffix = " (with --list-models)" if listing else ""
    parser.add_argument(
        "--check", action="store_true", help=f"ask each server whether it serves its model{suffix}"
    )
    add_json(parser, suffix)


def run(options: argparse.Namespace) -> int:
    """Prints the targets; returns 0, or 1 where one that was checked is not reachable."""
    return show(
        options.models_file, provider=options.provider, check=options.check, as_json=options.json
    )


def show(file: Path, *, provider: str | None, check: bool, as_json: bool) -> int:
    """Prints the targets of a file.

    Args:
        file: The targets' file.
        provider: Only targets of this provider, where given.
        check: Whether to ask their servers.
        as_json: Whether to print JSON.

    Returns:
        0, or 1 where one that was checked is not reachable.

    Raises:
        ConfigError: The file has faults, or no target of that provider.
    """
    out = Output(lambda: redactor_of_files(file))
    listed = list_targets(load_targets(file), environment(Path.cwd()), provider, check=check)
    if as_json:
        out.json([asdict(one) for one in listed], indent=2)
    else:
        _print(out, listed, check=check)
    return int(any(one.reachable is False for one in listed))


def list_targets(
    targets: Targets, known: Mapping[str, str], provider: str | None = None, *, check: bool = False
) -> list[Listed]:
    """The rows of the list, in the file's order.

    Args:
        targets: The targets.
        known: Where the keys' variables are looked up; the rows show no value.
        provider: Only targets of this provider, where given.
        check: Whether to ask their servers, all at once.

    Raises:
        ConfigError: There is no target of that provider.
    """
    chosen = [
        (entry, targets.get(entry.id))
        for entry in targets
        if provider in {None, targets.get(entry.id).provider}
    ]

    if provider is not None and not chosen:
        names = sorted({targets.get(entry.id).provider for entry in targets})
        raise ConfigError(
            f"there is no target of the provider {provider!r}",
            remedy=f"known: {', '.join(names)}",
        )

    def listed(pair: tuple[Target, Target]) -> Listed:
        entry, target = pair
        server = targets.get(entry.adapter_of) if entry.adapter_of else target
        variable = server.api_key_env
        reachable, finding = _ask(target, targets, known) if check else (None, "")
        return Listed(
            id=entry.id,
            default=entry.default,
            provider=target.provider,
            model=target.served_name,
            host=_host(server),
            adapter_of=entry.adapter_of,
            key_variable=variable,
            key_set=bool(known.get(variable, "").strip()) if variable else None,
            description=entry.description,
            reachable=reachable,
            finding=finding,
        )

    if not chosen:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(chosen))) as pool:
        return list(pool.map(listed, chosen))


def _ask(target: Target, targets: Targets, known: Mapping[str, str]) -> tuple[bool | None, str]:
    base = targets.get(target.adapter_of) if target.adapter_of else target
    if base.serve is not None and not running_servers.find(base.id):
        return None, "started by the run"
    try:
        if base.serve is not None:
            endpoints, gone = left_running(base), ""
        else:
            first = Servers({base.id: base}, known, Path()).endpoint(base.id)
            endpoints = first.all
            gone = ", ".join(address.place for address in first.absent)
        reached = "reachable"
        if gone:
            reached += f", but not {gone}"
        elif len(endpoints) > 1:
            reached += f" at {len(endpoints)} endpoints"
        if target.adapter_of is None:
            return not gone, reached
        loaded = [_has(one, target) for one in endpoints]
    except CapgateError as error:
        return False, error.what
    if all(loaded):
        return not gone, f"{reached}, loaded"
    if target.path is not None or any(map(find_folder, target.names)):
        return not gone, f"{reached}, loaded by the run"
    missing = [
        one.place for one, has in zip(endpoints, loaded, strict=True) if one.place and not has
    ]
    return False, f"not on {', '.join(missing) or 'the server'}, and no path"


def _has(endpoint: Endpoint, target: Target) -> bool:
    """Whether a server has an adapter loaded."""
    names = names_on(endpoint, target, lambda: list_models(endpoint))
    return not names.isdisjoint(target.names)


def _print(out: Output, listed: list[Listed], *, check: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    names = ["id", "provider", "model", "URL host", "adapter", "key variable"]
    for name in [*names, *(["reachable"] if check else []), "description"]:
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for one in listed:
        state = {True: "set", False: "not set", None: ""}[one.key_set]
        mark = {True: "✓ ", False: "✗ ", None: ""}[one.reachable]
        cells = (
            f"{one.id}{' (default)' if one.default else ''}",
            one.provider,
            one.model,
            one.host,
            f"of {one.adapter_of}" if one.adapter_of else "–",
            f"{one.key_variable} ({state})" if one.key_variable else "–",
            *([f"{mark}{one_line(one.finding, limit=120)}"] if check else []),
            one_line(one.description, limit=120),
        )
        # Secrets are cut out first: the layout may break a line within a key.
        table.add_row(*map(out.fit, cells))
    # A pipe has no width of its own; wide lines are easier to search than folded ones.
    width = Console().width if sys.stdout.isatty() else _PIPE_WIDTH
    out.lines(lines_of(table, width=width))


def _host(target: Target) -> str:
    if target.serve is not None:
        count = f"{target.replicas} × " if target.replicas > 1 else ""
        return f"started here ({count}{target.serve.engine})"
    return ", ".join(urlsplit(url).netloc for url in target.urls)
