"""The `inference-server` command: starts and stops servers, and loads adapters.

Exit codes: 0 done, 1 the server or adapter is not as asked (not running, unhealthy, refused),
4 wrong usage.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.commands.options import Parser, add_json
from capgate.common import exit_codes
from capgate.common.errors import CapgateError, ConfigError, RequestFault, ServerError
from capgate.common.event_loop import in_own_loop
from capgate.common.files import told_of_files
from capgate.common.output import Output
from capgate.common.signals import interrupt_on_termination
from capgate.common.text import one_line
from capgate.config.secrets import redactor_of_files
from capgate.config.targets import Target, Targets, environment, load_targets
from capgate.serving import running_servers
from capgate.serving.adapters.lora_requests import load, unload
from capgate.serving.adapters.served_names import loaded_as
from capgate.serving.adapters.sources import find_source
from capgate.serving.connect import left_running, list_models
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.start_replicas import start_replicas
from capgate.serving.servers import Servers

_NAME: Final = 300
"""Characters of a served name that are shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    options.out = Output(lambda: redactor_of_files(options.models_file))
    restore = interrupt_on_termination()
    try:
        targets = load_targets(options.models_file)
        with told_of_files():
            options.run(options, targets)
    except ConfigError as error:
        options.out.error(f"inference-server: {error}")
        return exit_codes.USAGE
    except CapgateError as error:
        options.out.error(f"inference-server: {error}")
        return 1
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    finally:
        restore()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="inference-server", description="Servers and LoRA adapters of config/models.yaml."
    )
    parser.add_argument(
        "--models-file", type=Path, default=Path("config/models.yaml"), metavar="FILE"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    one = commands.add_parser("start", help="start a target's server and leave it running")
    one.add_argument("model_id", metavar="MODEL_ID")
    one.set_defaults(run=_start)
    one = commands.add_parser("stop", help="stop servers that this project left running")
    one.add_argument("model_id", metavar="MODEL_ID", nargs="?", help="default: all of them")
    one.set_defaults(run=_stop)
    one = commands.add_parser("health", help="ask whether a target's server answers")
    one.add_argument("model_id", metavar="MODEL_ID", nargs="?", help="default: the default target")
    one.set_defaults(run=_health)
    one = commands.add_parser("list", help="list a server's models and adapters")
    one.add_argument("model_id", metavar="MODEL_ID", nargs="?", help="default: the default target")
    add_json(one)
    one.set_defaults(run=_list)
    one = commands.add_parser("load-adapter", help="load a LoRA adapter onto a vLLM server")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--path", metavar="DIR", help="default: the entry's path, or adapters/NAME")
    one.add_argument("--model-id", metavar="BASE", help="the base's target")
    one.set_defaults(run=_load)
    one = commands.add_parser("unload-adapter", help="unload a LoRA adapter")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--model-id", metavar="BASE", help="the base's target")
    one.set_defaults(run=_unload)
    return parser


def _start(options: argparse.Namespace, targets: Targets) -> None:
    target = targets.get(options.model_id)
    if target.serve is None:
        raise ConfigError(
            "it has no serve block, so there is nothing to start here",
            target=target.id,
            remedy="start its server where it lives, or describe it in config/models.yaml",
        )
    with running_servers.starting(target.id):
        if running_servers.find(target.id):
            left_running(target)
            options.out.line(f"{target.id} is already running")
            return
        say = functools.partial(print, file=sys.stderr)
        servers = start_replicas(target, running_servers.logs(), say)
        for server in servers:
            running_servers.remember(
                running_servers.Running(
                    project=running_servers.project(),
                    target=target.id,
                    base_url=server.base_url,
                    key=server.key,
                    identity=server.identity,
                    pid=server.pid,
                    log=str(server.log),
                    place=server.place,
                )
            )
            server.detach()
    for server in servers:
        options.out.line(
            f"{target.id}{_named(server.place)} is running at {server.base_url} (log: {server.log})"
        )


def _stop(options: argparse.Namespace, targets: Targets) -> None:
    if options.model_id is None:
        servers = _here()
    else:
        servers = running_servers.find(targets.get(options.model_id).id)
        if not servers:
            raise ServerError("no server was left running for it here", target=options.model_id)
    for server in servers:
        running_servers.stop(server)
        options.out.line(f"{server.target}{_named(server.place)} is stopped")
    if not servers:
        options.out.line("no server is running")
        for other in running_servers.all_running():
            options.out.line(f"(in {other.project}: {other.target})")


def _health(options: argparse.Namespace, targets: Targets) -> None:
    for endpoint in _endpoints(options.model_id, options, targets):
        in_own_loop(functools.partial(_ask_health, endpoint))
        options.out.line(
            f"{endpoint.target} answers at {endpoint.base_url} and serves {endpoint.model}"
        )


def _named(place: str) -> str:
    """What follows a target's id in a line on one of its servers."""
    return f" ({place})" if place else ""


async def _ask_health(endpoint: Endpoint) -> None:
    limits = ClientLimits(connections=1, attempt_timeout=15.0)
    client = Client(
        endpoint.base_url, target=endpoint.target, key=endpoint.key or "", limits=limits
    )
    async with client:
        try:
            await client.health()
        except RequestFault as fault:
            # It has listed its models; some servers lack this route.
            if fault.kind != "not_found":
                raise


def _list(options: argparse.Namespace, targets: Targets) -> None:
    found = [(one, list_models(one)) for one in _endpoints(options.model_id, options, targets)]
    if options.json:
        rows: list[dict[str, Any]] = [
            {
                "name": m.name,
                "adapter_of": m.parent or None,
                "root": m.root or None,
                **({"endpoint": endpoint.place} if endpoint.place else {}),
            }
            for endpoint, models in found
            for m in models
        ]
        options.out.json(rows, indent=2)
        return
    for endpoint, models in found:
        at = f"  (at {endpoint.place})" if endpoint.place else ""
        for model in models:
            # A name can have a line break; each gets one line.
            of = f"  (adapter of {one_line(model.parent, limit=_NAME)})" if model.parent else ""
            options.out.line(f"{one_line(model.name, limit=_NAME)}{of}{at}")


def _load(options: argparse.Namespace, targets: Targets) -> None:
    entry = _entry(options.name, targets)
    if options.path is not None or entry is None:
        source = find_source(options.name, options.path, target=options.name)
    else:
        source = find_source(options.name, entry.path, entry.revision, target=options.name)
    for endpoint in _base(options, targets):
        load(endpoint, source, target=options.name, name=options.name)
        options.out.line(f"{options.name} is loaded onto {endpoint.target}{_named(endpoint.place)}")


def _unload(options: argparse.Namespace, targets: Targets) -> None:
    for endpoint in _base(options, targets):
        name = loaded_as(options.name, endpoint, list_models(endpoint))
        unload(endpoint, name)
        options.out.line(f"{name} is unloaded from {endpoint.target}{_named(endpoint.place)}")


def _base(options: argparse.Namespace, targets: Targets) -> Sequence[Endpoint]:
    """The adapter's servers: named, its entry's, those left running, or the default's."""
    if options.model_id is not None:
        return _endpoints(options.model_id, options, targets)
    entry = _entry(options.name, targets)
    if entry is not None:
        return _endpoints(entry.adapter_of, options, targets)
    left = {one.target for one in _here()}
    return _endpoints(left.pop() if len(left) == 1 else None, options, targets)


def _entry(name: str, targets: Targets) -> Target | None:
    if name not in targets.ids():
        return None
    target = targets.get(name)
    return target if target.adapter_of is not None else None


def _endpoints(
    model_id: str | None, options: argparse.Namespace, targets: Targets
) -> Sequence[Endpoint]:
    """The live endpoints of a target; output no longer shows their keys.

    Raises:
        CapgateError: One of them is not live.
    """
    target = targets.get(model_id) if model_id else targets.default()
    if target.serve is not None:
        endpoints = left_running(target)
    else:
        known, logs, say = environment(Path.cwd()), running_servers.logs(), options.out.error
        first = Servers({target.id: target}, known, logs, say=say).endpoint(target.id)
        endpoints = first.all
        if first.absent:
            gone = ", ".join(address.place for address in first.absent)
            raise ServerError(f"no answer came from {gone}", target=target.id)
    for endpoint in endpoints:
        options.out.hide(endpoint.key)
    return endpoints


def _here() -> list[running_servers.Running]:
    return [
        one for one in running_servers.all_running() if one.project == running_servers.project()
    ]


if __name__ == "__main__":
    sys.exit(main())
