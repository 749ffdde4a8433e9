"""Alerts: posted when a verdict is REGRESSION or ERROR, and never in a verdict's way."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.doubles.flood import FAILED, GZIPPED, Flood, bomb
from tests.doubles.hook import Hook
from tests.unit.report.examples import red_report, report_of

from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.config.alerts import alert_urls
from capgate.gate.verdict import Verdict
from capgate.report import alerts

PATH = "hook/very-secret-path"


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook on this machine."""
    with Hook() as listening:
        yield listening


@pytest.fixture
def tracing() -> Iterator[Callable[[], int]]:
    """Most bytes that Python has held since."""
    bomb()
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def send(report: object, *urls: str) -> tuple[list[str], list[float]]:
    """Sends alerts without waiting; returns the lines and the waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    redactor = Redactor.of_environment({}, urls)
    return alerts.send_alerts(report, urls, redactor, sleep=sleep), waits  # type: ignore[arg-type]


def test_a_regression_is_posted_with_a_text_and_numbers(hook: Hook) -> None:
    """Slack takes `text`; programs take the rest."""
    lines, _ = send(red_report(), hook.url(PATH), hook.url(PATH))
    assert lines == ["alert 1 of 1 (127.0.0.1): sent"]
    (posted,) = hook.got
    message = posted.message
    assert message["verdict"] == "REGRESSION"
    assert "*capgate: REGRESSION*" in str(message["text"])
    assert "mine lost 40.0 points" in str(message["text"])
    assert message["targets"][0]["subjects"] == ["anatomy"]


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("ERROR", 1),
        ("PASS", 0),
        ("INCONCLUSIVE", 0),
        ("lost", 1),
        ("kept", 0),
        ("too few to tell", 0),
    ],
)
def test_which_verdicts_are_posted(hook: Hook, kind: str, sent: int) -> None:
    """ERROR is, and a lost subject that was judged alone; what found no loss is not."""
    report = report_of("mine", "r", [], Verdict(kind=kind, scope="suite", reasons=("so",)))  # type: ignore[arg-type]
    lines, _ = send(report, hook.url(PATH))
    assert (len(lines), len(hook.got)) == (sent, sent)


def test_a_busy_webhook_is_tried_again(hook: Hook) -> None:
    """Server errors and 429 are tried three times in all; a refusal is final."""
    hook.statuses = [503, 429]
    assert send(red_report(), hook.url(PATH)) == (["alert 1 of 1 (127.0.0.1): sent"], [1.0, 2.0])
    hook.statuses = [500, 500, 500]
    (line,), waits = send(red_report(), hook.url(PATH))
    assert line.startswith("alert 1 of 1 (127.0.0.1): NOT SENT, HTTP 500")
    assert line.endswith("the verdict stands")
    assert len(waits) == 2
    hook.statuses = [404]
    (line,), waits = send(red_report(), hook.url(PATH))
    assert "NOT SENT, HTTP 404" in line
    assert not waits


def test_a_compressed_refusal_is_not_unpacked(tracing: Callable[[], int]) -> None:
    """What answers may be no webhook at all; its status is enough."""
    with Flood(FAILED + GZIPPED + b"\r\n" + bomb()) as flood:
        (line,), _ = send(red_report(), f"{flood.root}/{PATH}")
    assert line.startswith("alert 1 of 1 (127.0.0.1): NOT SENT, HTTP 500 after")
    assert tracing() < 1 << 24


@pytest.mark.parametrize("way", ["silent", "drips"])
def test_a_webhook_that_never_answers_is_given_up(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Each attempt has its time, also where a header comes now and then; three are made."""
    monkeypatch.setattr(alerts, "TIMEOUT", 0.5)
    setattr(hook, way, True)
    (line,), waits = send(red_report(), hook.url(PATH))
    assert "NOT SENT, no answer within 0.5 s after 3 attempts; the verdict stands" in line
    assert waits == [1.0, 2.0]
    assert len(hook.got) == 3


def test_whatever_goes_wrong_the_verdict_stands(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the client itself can't be had: a proxy's address that is none."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "nonsense://very-secret-proxy")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (line,), _ = send(red_report(), hook.url(PATH))
    assert line.startswith("alert 1 of 1 (127.0.0.1): NOT SENT, ")
    assert line.endswith("the verdict stands")
    assert "very-secret" not in line


@pytest.mark.parametrize("said", ["Cannot POST {path}", "{path} " * 300, "{path}" * 300])
def test_a_refusal_that_repeats_the_path_is_shown_without_it(hook: Hook, said: str) -> None:
    """As Express does; however often, and wherever what was read of it ends."""
    hook.said = said
    hook.statuses = [404]
    (line,), _ = send(red_report(), hook.url(PATH))
    assert "NOT SENT, HTTP 404" in line
    assert "very-secret" not in line


def test_a_url_is_in_no_log(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """Neither of ours nor of the client's, whatever level is asked for."""
    with caplog.at_level(0):
        send(red_report(), hook.url(PATH))
    assert hook.got
    assert "very-secret" not in caplog.text


def test_a_url_is_never_shown(hook: Hook) -> None:
    """Neither of a webhook that answers nor of one that is not there nor of no URL at all."""
    hook.close()
    lines, _ = send(
        red_report(), hook.url(PATH), "mailto:very-secret-path", "http://[very-secret-path"
    )
    assert len(lines) == 3
    assert all("NOT SENT" in line and "very-secret" not in line for line in lines)


def test_model_text_can_not_speak_in_a_channel(hook: Hook) -> None:
    """Mentions, links and formatting of Slack's are shown as text."""
    said = "<!channel> <https://evil.example|ok> @here *bold* & https://evil.example"
    report = report_of("mine", "r", [], Verdict.of_error(said, scope="suite"))
    send(report, hook.url(PATH))
    text = str(hook.got[0].message["text"])
    assert "<" not in text
    assert "@here" not in text
    assert "https://evil" not in text
    assert "*bold*" not in text


def test_where_urls_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, CAPGATE_ALERT_URL and config/alerts.yaml, which names variables only."""
    monkeypatch.setenv("CAPGATE_ALERT_URL", "https://a/1 https://b/2")
    monkeypatch.setenv("HOOK", "https://c/3")
    assert alert_urls(tmp_path, ["https://b/2"]) == ("https://b/2", "https://a/1")
    (tmp_path / "config").mkdir()
    file = tmp_path / "config" / "alerts.yaml"
    file.write_text("chat: HOOK\n")
    assert alert_urls(tmp_path, [])[-1] == "https://c/3"
    file.write_text("chat: https://hooks.example/very-secret\nother: MISSING_ONE\n")
    with pytest.raises(ConfigError, match="MISSING_ONE") as caught:
        alert_urls(tmp_path, [])
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("hooks.example/very-secret", "it does not begin with https://"),
        ("mailto:very-secret@example", "it does not begin with https://"),
        ("https:///very-secret", "it names no host"),
        ("https://host:very-secret/x", "it is no URL"),
        ("http://[very-secret", "its host or port can't be one"),
        ("https://host:99999/very-secret", "its host or port can't be one"),
        ("https://host/very-secret ,", "a space stands in it"),
    ],
)
def test_a_url_that_nothing_can_be_posted_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    """It is told where it stands and what is wrong with it, never what it is."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "alerts.yaml").write_text("chat: CHANNEL\n")
    monkeypatch.setenv("CHANNEL", url)
    monkeypatch.setenv("CAPGATE_ALERT_URL", "https://good.example/1 nowhere")
    with pytest.raises(ConfigError) as caught:
        alert_urls(tmp_path, [url])
    said = str(caught.value)
    assert f"--alert: {why}" in said
    assert f"config/alerts.yaml, chat: {why}" in said
    assert "CAPGATE_ALERT_URL, URL 2: it does not begin with https://" in said
    assert "very-secret" not in said
