"""A run without pytest, for commands that ask questions by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from capgate.common.output import Output
from capgate.config.chosen_targets import new_run_id
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target, VllmServe, environment
from capgate.run.log_sweep import sweep_lines
from capgate.run.run import Run
from capgate.run.runs import Runs
from capgate.serving.lost import LostTargets
from capgate.serving.servers import Servers
from capgate.store.open_store import open_leases


@contextmanager
def local_run(
    settings: Settings,
    *,
    further: Sequence[str] = (),
    run_id: str | None = None,
    vllm_env: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """A run of one benchmark in this process; its servers end with it.

    Args:
        settings: The run's settings.
        further: Targets that take part beside those in the settings.
        run_id: A run that is taken up again; a new one where None.
        vllm_env: Further environment variables of the vLLM servers that it starts.

    Raises:
        CapgateError: The targets' file has faults, or a target is unknown.
    """
    with local_runs(
        settings, settings.benchmarks[:1], further=further, run_id=run_id, vllm_env=vllm_env
    ) as local:
        yield local.runs.first


@dataclass(frozen=True)
class LocalRuns:
    """A run in this process.

    Attributes:
        runs: Its part for each benchmark.
        servers: The servers that it asks.
    """

    runs: Runs
    servers: Servers


@contextmanager
def local_runs(
    settings: Settings,
    benchmarks: Sequence[str],
    *,
    further: Sequence[str] = (),
    run_id: str | None = None,
    one_by_one: bool = False,
    in_turns: bool = False,
    vllm_env: Mapping[str, str] | None = None,
) -> Iterator[LocalRuns]:
    """A run in this process; its servers end with it, and then its logs lose what is secret.

    Args:
        settings: The run's settings.
        benchmarks: What is asked, in order.
        further: Targets that take part beside those in the settings.
        run_id: A run that is taken up again; a new one where None.
        one_by_one: Whether each adapter is loaded when it is asked for, and not with its base.
        in_turns: Whether benchmarks are asked in turns, and not one after the other.
        vllm_env: Further environment variables of the vLLM servers that it starts.

    Raises:
        CapgateError: The targets' file has faults, or a target is unknown.
    """
    run_id = run_id or new_run_id()
    redactor = project_redactor(settings)
    say = Output(lambda: redactor).error
    losses = LostTargets()

    def make(benchmark: str, beside: Run | None) -> Run:
        return Run(
            settings,
            run_id,
            benchmark=benchmark,
            beside=beside,
            endpoint=lambda target: servers.endpoint(target),
            readmit=lambda target, url, since: servers.readmit(target, url, since),
            post_mortem=lambda target: servers.post_mortem(target),
            say=say,
            further=further,
            losses=losses,
            in_turns=in_turns,
        )

    runs = Runs(benchmarks, make)
    run = runs.first
    servers = Servers(
        {name: _with_env(one, vllm_env or {}) for name, one in run.participants.items()},
        environment(settings.root),
        run.folder / "logs",
        say=say,
        observe_weights=True,
        one_by_one=one_by_one,
        ray=settings.ray,
        leases=open_leases(settings.store),
    )
    try:
        yield LocalRuns(runs, servers)
    finally:
        runs.close()
        servers.close()
        for line in sweep_lines(run.folder / "logs", redactor):
            say(line)


def _with_env(target: Target, variables: Mapping[str, str]) -> Target:
    spec = target.serve
    if not variables or not isinstance(spec, VllmServe):
        return target
    more = spec.model_copy(update={"env": {**spec.env, **variables}})
    return target.model_copy(update={"serve": more})
