"""Alerts: a short message to a webhook when a verdict is REGRESSION or ERROR.

The body is JSON whose `text` Slack and the services that follow it show as it is; the other
members are for programs. An alert is news of a verdict and no part of it: one that can't be
delivered is told of and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from capgate.benchmarks.recorded import nouns_of
from capgate.common.redact import Redactor
from capgate.common.text import one_line
from capgate.report.data.nouns import is_mmlu_alone, part_name
from capgate.report.data.result import Report
from capgate.report.data.standings import has_several, standings
from capgate.report.text.advice import headline, next_steps
from capgate.report.text.over_all import suite_headline
from capgate.report.text.shown_commands import look_command

KINDS: Final = frozenset({"REGRESSION", "ERROR", "lost"})
"""Kinds of a run's verdict that alerts are sent for; `lost` where only subjects were judged."""

TIMEOUT: Final = 10.0
"""Seconds for one attempt, from the look-up of the host's name to the answer's end."""

ATTEMPTS: Final = 3
_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 15.0
_SAID: Final = 2_000
"""Bytes of a refusal that are read."""

_TEXT: Final = 2_500
"""Characters of the text; services cut or refuse much longer ones."""


def wanted(report: Report) -> bool:
    """Whether a run's verdict is one that alerts are sent for."""
    return bool(report.verdict) and report.verdict["kind"] in KINDS  # type: ignore[index]


def body(report: Report, redactor: Redactor) -> dict[str, Any]:
    """The message of a run, as plain values, without anything secret."""
    lines = [f"*capgate: {report.verdict['kind']}*" if report.verdict else "*capgate*"]
    suites, members = _of_suites(report)
    lines += suites
    targets: list[dict[str, Any]] = []
    for benchmark, section in report.sections.items():
        for target, verdict in section.verdicts.items():
            result = section.targets.get(target)
            if verdict["kind"] not in KINDS or (result and result.advisory):
                continue
            named = part_name(report, benchmark, target)
            lines.append(f"• {_mrkdwn(headline(named, verdict, nouns=nouns_of(benchmark)))}")
            lines += [f"   {_mrkdwn(reason)}" for reason in verdict["reasons"][:2]]
            steps = next_steps(verdict, section.comparisons.get(target), result)
            lines += [f"   → {_mrkdwn(step)}" for step in steps[:1]]
            targets.append(
                {
                    "target": target,
                    **({} if is_mmlu_alone(report) else {"benchmark": benchmark}),
                    "verdict": verdict["kind"],
                    "drop": verdict["drop"],
                    "interval": verdict["interval"],
                    "questions": (verdict["counts"] or {}).get("n"),
                    "subjects": [s["subject"] for s in verdict["subjects"] if s["failed"]],
                    "domains": [d["domain"] for d in verdict["domains"] if d["failed"]],
                }
            )
    lines.append(f"run `{report.run}`: {look_command(report, 'report', report.run)}")
    if link := _job_link(os.environ):
        lines.append(link)
    text = "\n".join(lines)
    message = {
        "text": text if len(text) <= _TEXT else text[: _TEXT - 1] + "…",
        "run": report.run,
        "verdict": report.verdict["kind"] if report.verdict else None,
        **({"suites": members} if members else {}),
        "targets": targets,
    }
    redacted: dict[str, Any] = redactor.data(message)
    return redacted


def _of_suites(report: Report) -> tuple[list[str], list[dict[str, Any]]]:
    """The lines on verdicts over all benchmarks, and their members for programs."""
    lines: list[str] = []
    members: list[dict[str, Any]] = []
    for target, suite in report.suites.items() if has_several(report) else ():
        if suite["kind"] in KINDS:
            said = suite_headline(target, suite, standings(report, target))
            lines.append(f"• {_mrkdwn(said)}")
            lines += [f"   {_mrkdwn(reason)}" for reason in suite["reasons"][:2]]
            members.append(
                {
                    "target": target,
                    "verdict": suite["kind"],
                    "benchmarks": [one["name"] for one in suite["benchmarks"] if one["failed"]],
                }
            )
    return lines, members


def send_alerts(
    report: Report,
    urls: Sequence[str],
    redactor: Redactor,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[str]:
    """Sends a run's alerts, where its verdict asks for them; all at once.

    Args:
        report: The run's report.
        urls: Where to; secrets.
        redactor: Knows them as such.
        sleep: Waits between attempts.

    Returns:
        A line for each, to show.
    """
    if not urls or not wanted(report):
        return []
    message = json.dumps(body(report, redactor), ensure_ascii=False).encode()
    urls = list(dict.fromkeys(urls))

    async def post_all() -> list[str]:
        return await asyncio.gather(*(_post(url, message, redactor, sleep) for url in urls))

    with _unlogged():
        faults = asyncio.run(post_all())
    return [
        f"alert {number} of {len(urls)} ({_host(url)}): "
        + (f"NOT SENT, {fault}; the verdict stands" if fault else "sent")
        for number, (url, fault) in enumerate(zip(urls, faults, strict=True), start=1)
    ]


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keeps the URLs out of any log: the client writes each that it asks into its own."""
    before = {name: logging.getLogger(name).level for name in ("httpx", "httpcore")}
    for name in before:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


async def _post(
    url: str, message: bytes, redactor: Redactor, sleep: Callable[[float], Awaitable[None]]
) -> str:
    """Posts a message; returns why it could not be delivered, `""` where it was."""
    fault = ""
    for attempt in range(ATTEMPTS):
        wait = min(_WAIT * 2**attempt, _LONGEST_WAIT)
        tried = f" after {attempt + 1} attempts" if attempt else ""
        try:
            status, said, retry_after = await _attempt(url, message)
        except TimeoutError:
            fault = f"no answer within {TIMEOUT:g} s{tried}"
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            return "it is no address that can be posted to"
        except Exception as error:  # no fault of an alert may change a verdict
            fault = f"{type(error).__name__}{tried}"
        else:
            if 200 <= status < 300:
                return ""
            words = one_line(redactor.text(said), limit=120)
            fault = f"HTTP {status}" + (f' ("{words}")' if words else "")
            if status < 500 and status != 429:
                return fault
            fault += tried
            wait = max(wait, min(_seconds(retry_after), _LONGEST_WAIT))
        if attempt + 1 < ATTEMPTS:
            await sleep(wait)
    return fault


async def _attempt(url: str, message: bytes) -> tuple[int, str, str | None]:
    """Posts once; returns the status, how the answer begins, and its `Retry-After`.

    Raises:
        TimeoutError: There was no answer in time.
        httpx.HTTPError: There was none.
    """
    # httpx's own limits are for each read; an answer that drips would never meet one.
    ends = asyncio.get_running_loop().time() + TIMEOUT
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(timeout=None) as client:
        async with asyncio.timeout_at(ends):
            request = client.build_request("POST", url, content=message, headers=headers)
            response = await client.send(request, stream=True)
        said = b""
        # What is compressed in spite of that could become any length.
        if not response.is_success and "Content-Encoding" not in response.headers:
            with suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout_at(ends):
                    async for part in response.aiter_raw():
                        said += part
                        if len(said) > _SAID:
                            break
        text = said.decode("utf-8", "replace")
        if len(text) > _SAID:
            # The cut may have gone through something secret.
            text = text[:_SAID].rpartition(" ")[0]
        return response.status_code, text, response.headers.get("Retry-After")


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0


def _host(url: str) -> str:
    """The host alone: a webhook's path is its secret."""
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"


def _mrkdwn(text: str) -> str:
    """Text that Slack shows as it is: no mention, link or formatting can be made of it."""
    line = one_line(text, limit=400)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Plain `@name` and bare links are made live only where a space or a letter follows.
    line = line.replace("@", "@\u2060").replace("://", ":\u2060//")
    return "".join(f"\u2060{char}" if char in "*_~`" else char for char in line)


def _job_link(environment: Mapping[str, str]) -> str:
    """The page of the GitHub job that runs this, where one does."""
    parts = [
        environment.get(name, "")
        for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    ]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else ""
