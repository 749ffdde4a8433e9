"""The URLs of servers, as entries and the command line name them."""

from __future__ import annotations

import argparse
import re
from typing import Final
from urllib.parse import urlsplit

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def checked_url(url: str) -> str:
    """A server's root as requests need it.

    Raises:
        ValueError: It is none, or carries what must not stand in a file.
    """
    # Wherever an @ stands, what precedes it may be a password; so nothing of it is shown.
    if "@" in url:
        raise ValueError("may not carry credentials; name the key's variable in api_key_env")
    parts = urlsplit(url)
    if re.search(r"\s", url):
        raise ValueError("may not contain spaces or line ends")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected http://HOST:PORT/v1, got {redact_url(url)!r}")
    _ = parts.port  # raises where it is no number or out of range
    if parts.query or parts.fragment:
        raise ValueError("may not carry a query or fragment; use extra_body for options")
    return url.rstrip("/")


def checked_urls(urls: list[str]) -> tuple[str, ...]:
    """The roots of the servers of one target, each named once.

    Raises:
        ValueError: With every fault of the list.
    """
    if not urls:
        raise ValueError("the list is empty; name at least one URL")
    found: dict[str, int] = {}
    faults: list[str] = []
    for number, url in enumerate(urls, start=1):
        try:
            good = checked_url(url)
        except ValueError as fault:
            faults.append(f"URL {number} {fault}")
            continue
        if good in found:
            faults.append(f"URL {number} is URL {found[good]} again")
        found.setdefault(good, number)
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


def parse_endpoints(text: str) -> tuple[str, ...]:
    """Reads the value of `--endpoints`: `HOST:PORT` or full URLs, with commas between.

    `http://` and `/v1` are added where they are missing.

    Raises:
        argparse.ArgumentTypeError: One is no address of a server, or is named twice.
    """
    named = [one.strip() for one in text.split(",") if one.strip()]
    try:
        return checked_urls([_whole(one) for one in named])
    except ValueError as fault:
        raise argparse.ArgumentTypeError(
            f"expected HOST:PORT,HOST:PORT or full URLs: {fault}"
        ) from None


def _whole(address: str) -> str:
    if not _SCHEME.match(address):
        if "@" not in address and not re.search(r":\d+(/|$)", address):
            raise ValueError(f"{address!r} names no port")
        address = f"http://{address}"
    return address if urlsplit(address).path.strip("/") else f"{address.rstrip('/')}/v1"


def redact_url(url: str) -> str:
    """`url` without credentials, query and fragment, fit to show."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}" if parts.scheme else parts.path
