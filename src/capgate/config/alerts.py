"""Where alerts go: `--alert`, `CAPGATE_ALERT_URL` and `config/alerts.yaml`.

The file names the environment variables that hold the URLs:

    ci-channel: SLACK_WEBHOOK_URL     # a variable, or a line of .env
    on-call: PAGER_URL

A URL is a secret: it stands in no file that git may see, and no message repeats a word of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from capgate.common.errors import ConfigError, FileFault
from capgate.common.yaml_file import is_variable, names_in_quotes, read_yaml_mapping
from capgate.config.targets import environment

FILE: Final = Path("config", "alerts.yaml")
VARIABLE: Final = "CAPGATE_ALERT_URL"


@dataclass(frozen=True)
class _Address:
    """A URL and where it stands."""

    place: str
    url: str = field(repr=False)


def alert_urls(root: Path, named: Sequence[str]) -> tuple[str, ...]:
    """Where alerts go, each URL checked and once.

    Args:
        root: The project's folder.
        named: The command line's URLs.

    Raises:
        ConfigError: With every fault: of the file, and of each URL that can't be posted to.
    """
    found = environment(root)
    further, faults = _of_file(root, found)
    addresses = [*_listed(named, found), *further]
    faults += [FileFault(one.place, why) for one in addresses if (why := _fault(one.url))]
    if faults:
        raise ConfigError(
            "alerts can't be sent to where they should go",
            faults=faults,
            remedy=f"give each URL in full (https://HOST/…), and name in {FILE} the variables "
            "that hold them, as in `ci-channel: SLACK_WEBHOOK_URL`",
        )
    return tuple(dict.fromkeys(one.url for one in addresses))


def secret_urls(root: Path, named: Sequence[str]) -> list[str]:
    """The URLs of `alert_urls` as far as they can be read, also where they have faults."""
    found = environment(root)
    addresses = _listed(named, found)
    with suppress(ConfigError):
        addresses += _of_file(root, found)[0]
    return [one.url for one in addresses]


def _listed(named: Sequence[str], environment: Mapping[str, str]) -> list[_Address]:
    by_variable = environment.get(VARIABLE, "").split()
    return [
        _Address(place if len(urls) == 1 else f"{place}, URL {number}", url)
        for place, urls in (("--alert", named), (VARIABLE, by_variable))
        for number, url in enumerate(urls, start=1)
    ]


def _of_file(root: Path, environment: Mapping[str, str]) -> tuple[list[_Address], list[FileFault]]:
    """The addresses that a project's file names, none where it has no such file, and its faults.

    Raises:
        ConfigError: The file can't be read.
    """
    path = root / FILE
    addresses: list[_Address] = []
    faults: list[FileFault] = []
    if not path.exists():
        return addresses, faults
    for name, variable in read_yaml_mapping(path, what="each alert's variable").items():
        place = f"{FILE}, {name}"
        faults += [FileFault(place, fault.what) for fault in names_in_quotes([name])]
        if not is_variable(variable):
            faults.append(
                FileFault(place, "expected the name of an environment variable that holds a URL")
            )
        elif not (url := environment.get(variable, "").strip()):
            faults.append(FileFault(place, f"the variable {variable} is not set"))
        else:
            addresses.append(_Address(place, url))
    return addresses, faults


def _fault(url: str) -> str:
    """Why nothing can be posted to a URL, `""` where it can."""
    import httpx

    if len(url.split()) != 1:
        return "a space stands in it"
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "it is no URL"
    if found.scheme not in {"http", "https"}:
        return "it does not begin with https:// or http://"
    if "%" in found.host or (found.port or 1) > 65_535:
        return "its host or port can't be one"
    return "" if found.host else "it names no host"
