"""A run without pytest, for commands that ask questions by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from capgate.common.output import Output
from capgate.config.chosen_targets import new_run_id
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import environment
from capgate.run.log_sweep import sweep_lines
from capgate.run.run import Run
from capgate.serving.endpoint import Endpoint
from capgate.serving.servers import Servers


@contextmanager
def local_run(
    settings: Settings, *, further: Sequence[str] = (), run_id: str | None = None
) -> Iterator[Run]:
    """A run in this process; its servers end with it, and then its logs lose what is secret.

    Args:
        settings: The run's settings.
        further: Targets that take part beside those in the settings.
        run_id: A run that is taken up again; a new one where None.

    Raises:
        CapgateError: The targets' file has faults, or a target is unknown.
    """
    run_id = run_id or new_run_id()

    def endpoint(target: str) -> Endpoint:
        return servers.endpoint(target)

    redactor = project_redactor(settings)
    say = Output(lambda: redactor).error
    run = Run(settings, run_id, endpoint=endpoint, say=say, further=further)
    servers = Servers(
        run.participants,
        environment(settings.root),
        run.folder / "logs",
        say=say,
        observe_weights=True,
    )
    try:
        yield run
    finally:
        run.close()
        servers.close()
        for line in sweep_lines(run.folder / "logs", redactor):
            say(line)
