"""What a project knows to be secret: one redactor for all that it stores or shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from capgate.common.errors import CapgateError
from capgate.common.redact import Redactor
from capgate.common.yaml_file import read_yaml_mapping
from capgate.config.alerts import secret_urls
from capgate.config.settings import MODELS_FILE, Settings
from capgate.config.targets import environment


def project_redactor(settings: Settings) -> Redactor:
    """The redactor of a project, made once in each process from its files and options.

    It knows the secrets that names in the environment and in `.env` tell, the keys of the
    targets, the URLs of alerts and the store's password, as far as the project's files can be
    read.
    """
    url = settings.store.url
    passwords = tuple(url.secrets) if url else ()
    return _redactor(settings.root, settings.models_file, settings.alerts, passwords)


def redactor_for(settings: Callable[[], Settings], models_file: str | None = None) -> Redactor:
    """A project's redactor; where its options are wrong, that of this folder and its targets.

    Args:
        settings: Returns the project's settings, or raises what is wrong with its options.
        models_file: The targets' file that an option names; None for the usual one.
    """
    try:
        return project_redactor(settings())
    except CapgateError:
        return redactor_of_files(Path.cwd() / (models_file or MODELS_FILE))


def redactor_of_files(models_file: Path) -> Redactor:
    """The redactor of a command that has no run's options: of this folder and its targets."""
    return _redactor(Path.cwd(), models_file, (), ())


@cache
def _redactor(
    root: Path, models_file: Path, alerts: tuple[str, ...], passwords: tuple[str, ...]
) -> Redactor:
    found: Mapping[str, str] = os.environ
    urls: list[str] = []
    with suppress(CapgateError):
        found = environment(root)
        urls = secret_urls(root, alerts)
    keys: list[str] = []
    with suppress(CapgateError):
        # Not the targets themselves: a file with faults names its keys' variables all the same.
        entries = read_yaml_mapping(models_file, what="the targets").values()
        names = [one.get("api_key_env") for one in entries if isinstance(one, dict)]
        keys = [found.get(name, "") for name in names if isinstance(name, str)]
    return Redactor.of_environment(found, [*keys, *urls, *passwords])
