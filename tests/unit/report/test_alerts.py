"""Alerts: posted when a verdict is REGRESSION or ERROR, and never in a verdict's way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.report.examples import flip, red_report, report_of

from capgate.errors import ConfigError
from capgate.gate.verdict import Verdict
from capgate.redact import Redactor
from capgate.report import alerts
from capgate.report.write import alert_urls


class Hook:
    """A webhook that answers as it is told."""

    def __init__(self) -> None:
        self.got: list[dict[str, object]] = []
        self.statuses: list[int] = []
        self.silent = False
        self.done = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(json.loads(raw))
                if hook.silent:
                    hook.done.wait()
                    return
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(b"no thanks <b>")

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/very-secret-path"


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook on this machine."""
    made = Hook()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.done.set()
    made.server.shutdown()


def send(report: object, *urls: str) -> tuple[list[str], list[float]]:
    """Sends alerts without waiting; returns the lines and the waits."""
    waits: list[float] = []
    lines = alerts.send_alerts(report, urls, Redactor(urls), sleep=waits.append)  # type: ignore[arg-type]
    return lines, waits


def test_a_regression_is_posted_with_a_text_and_numbers(hook: Hook) -> None:
    """Slack takes `text`; programs take the rest."""
    lines, _ = send(red_report(), hook.url, hook.url)
    assert lines == ["alert 1 of 1 (127.0.0.1): sent"]
    (message,) = hook.got
    assert message["verdict"] == "REGRESSION"
    assert "*capgate: REGRESSION*" in str(message["text"])
    assert "mine lost 40.0 points" in str(message["text"])
    assert message["targets"][0]["subjects"] == ["anatomy"]  # type: ignore[index]


@pytest.mark.parametrize(("kind", "sent"), [("ERROR", 1), ("PASS", 0), ("INCONCLUSIVE", 0)])
def test_which_verdicts_are_posted(hook: Hook, kind: str, sent: int) -> None:
    """ERROR is; PASS and INCONCLUSIVE are not."""
    report = report_of("mine", "r", [], Verdict(kind=kind, scope="suite", reasons=("so",)))  # type: ignore[arg-type]
    lines, _ = send(report, hook.url)
    assert (len(lines), len(hook.got)) == (sent, sent)


def test_a_busy_webhook_is_tried_again(hook: Hook) -> None:
    """Server errors and 429 are tried three times in all; a refusal is final."""
    hook.statuses = [503, 429]
    assert send(red_report(), hook.url) == (["alert 1 of 1 (127.0.0.1): sent"], [1.0, 2.0])
    hook.statuses = [500, 500, 500]
    (line,), waits = send(red_report(), hook.url)
    assert line.startswith("alert 1 of 1 (127.0.0.1): NOT SENT, HTTP 500")
    assert line.endswith("the verdict stands")
    assert len(waits) == 2
    hook.statuses = [404]
    (line,), waits = send(red_report(), hook.url)
    assert "NOT SENT, HTTP 404" in line
    assert not waits


def test_a_webhook_that_never_answers_is_given_up(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt has its time; three are made."""
    monkeypatch.setattr(alerts, "TIMEOUT", 0.1)
    hook.silent = True
    (line,), waits = send(red_report(), hook.url)
    assert "NOT SENT, ReadTimeout after 3 attempts" in line
    assert waits == [1.0, 2.0]
    assert len(hook.got) == 3


def test_a_url_is_never_shown(hook: Hook) -> None:
    """Neither of a webhook that answers nor of one that is not there nor of no URL at all."""
    hook.server.shutdown()
    hook.server.server_close()
    lines, _ = send(red_report(), hook.url, "mailto:very-secret-path", "http://[very-secret-path")
    assert len(lines) == 3
    assert all("NOT SENT" in line and "very-secret" not in line for line in lines)


def test_model_text_can_not_speak_in_a_channel(hook: Hook) -> None:
    """Mentions, links and formatting of Slack's are shown as text."""
    said = "<!channel> <https://evil.example|ok> @here *bold* & https://evil.example"
    report = report_of("mine", "r", [], Verdict.of_error(said, scope="suite"))
    send(report, hook.url)
    text = str(hook.got[0]["text"])
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
    assert flip(1).change == "loss"
