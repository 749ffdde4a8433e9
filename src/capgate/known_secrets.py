"""What a project knows to be secret: one redactor for all that it stores or shows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from capgate.config import environment, load_targets
from capgate.errors import CapgateError
from capgate.redact import Redactor
from capgate.report.alert_file import secret_urls
from capgate.settings import Settings


def project_redactor(settings: Settings) -> Redactor:
    """The redactor of a project, made once in each process from its files and options.

    It knows the secrets that names in the environment and in `.env` tell, the keys of the
    targets, and the URLs of alerts, as far as the project's files can be read.
    """
    return _redactor(settings.root, settings.models_file, settings.alerts)


def redactor_for(settings: Callable[[], Settings]) -> Redactor:
    """A project's redactor; where its options are wrong, the environment's."""
    try:
        return project_redactor(settings())
    except CapgateError:
        return Redactor.of_environment()


@cache
def _redactor(root: Path, models_file: Path, alerts: tuple[str, ...]) -> Redactor:
    found = environment(root)
    keys: list[str] = []
    with suppress(CapgateError):
        keys = [found.get(one.api_key_env or "", "") for one in load_targets(models_file)]
    return Redactor.of_environment(found, [*keys, *secret_urls(root, alerts)])
