"""`capgate open`: what its pages list, and what its server refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from tests.doubles.runs import answers, keep_run
from tests.unit.report.examples import red_report
from tests.unit.report.test_history import changed

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.config.store_place import StorePlace
from capgate.report.data.history import FILE, add_run
from capgate.report.site.folder import ReportsFolder
from capgate.report.site.index import Wanted, render_index
from capgate.report.site.progress import LiveProgress, ProgressNow, RunNow, TargetNow
from capgate.report.site.server import ADDRESS, Site, policy_of
from capgate.report.write import write_data, write_page
from capgate.store.open_store import open_store
from capgate.store.shard import Shard

RUN, OTHER = "20260101T000000Z-0001", "20260102T000000Z-0002"
SECRET = "innocent-0123456789abcdef"
HOSTILE = f"<script>alert(1)</script>\"'&amp;\x1b[31m\u202e {SECRET}"
NO_SCRIPT = "default-src 'none'; base-uri 'none'; form-action 'none'; sandbox"


@dataclass
class Reply:
    """What the server answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two runs of a target, with their reports and pages."""
    reports = tmp_path / "reports"
    for run, day in ((RUN, "2026-01-01"), (OTHER, "2026-01-02")):
        report = changed(red_report(run=run), run, f"{day}T00:00:00Z")
        write_data(report, reports / run)
        add_run(reports / FILE, report)
        write_page(report, reports / run, reports / FILE)
    return reports


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    """The folder's server, running."""
    progress = LiveProgress(StorePlace.file(folder / "answers.sqlite"), folder)
    with Site(ReportsFolder(folder), progress, Redactor([SECRET])) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    site: Site,
    path: str | None = None,
    method: str = "GET",
    within: str = "",
    **headers: str,
) -> Reply:
    """Asks for a path, or for one behind the token."""
    at = urlsplit(site.url)
    assert at.port is not None
    wire = http.client.HTTPConnection(ADDRESS, at.port, timeout=30)
    wire.putrequest(method, at.path + within if path is None else path, skip_host=True)
    for name, value in {"Host": at.netloc, **headers}.items():
        wire.putheader(name, value)
    wire.endheaders()
    reply = wire.getresponse()
    text = reply.read().decode()
    wire.close()
    return Reply(reply.status, reply.headers, text)


def index(folder: Path, progress: ProgressNow | None = None, **wanted: str) -> str:
    """The first page, as a query asks for it."""
    query = Wanted.of({name: [value] for name, value in wanted.items()})
    now = progress or ProgressNow()
    return render_index(ReportsFolder(folder), now, query, Redactor([SECRET]))


def listed(page: str) -> list[str]:
    """The runs that the list has, in its order."""
    return re.findall(r'<td><a href="runs/([^/"]+)/report.html">', page)


def test_the_list_has_each_run_with_verdict_drop_and_interval(folder: Path) -> None:
    """The newest run leads, and each leads to its report."""
    page = index(folder)
    assert listed(page) == [OTHER, RUN]
    verdict = red_report().targets["mine"].verdict
    assert verdict is not None
    low, high = (f"{100 * verdict['interval'][end]:+.1f}" for end in ("low", "high"))
    assert f"{low} to {high}" in page
    assert f"{100 * verdict['drop']:+.1f}" in page
    assert "✕ REGRESSION" in page
    assert "2 runs, first 60.0 %, last 60.0 %" in page


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        ({"text": OTHER[:8]}, [OTHER]),
        ({"target": "mine"}, [OTHER, RUN]),
        ({"target": "other"}, []),
        ({"verdict": "REGRESSION"}, [OTHER, RUN]),
        ({"verdict": "PASS"}, []),
        ({"benchmark": MMLU, "text": "MINE"}, [OTHER, RUN]),
        ({"benchmark": "gsm8k"}, []),
        ({"page": "99"}, [OTHER, RUN]),
        ({"page": "-1", "unknown": "x"}, [OTHER, RUN]),
    ],
)
def test_filters_choose_rows(folder: Path, wanted: dict[str, str], runs: list[str]) -> None:
    """By target, verdict, benchmark and text; the form shows what was chosen."""
    page = index(folder, **wanted)
    assert listed(page) == runs
    for name in ("target", "verdict", "benchmark"):
        if name in wanted:
            assert f'<option value="{wanted[name]}" selected>' in page


def test_hundreds_of_runs_are_listed_page_by_page(folder: Path) -> None:
    """Each row is on one page, and the filter is kept from page to page."""
    for at in range(250):
        run = f"20260201T000000Z-{at:04}"
        add_run(folder / FILE, changed(red_report(run=run), run, f"2026-02-01T00:00:00.{at:04}Z"))
    first, second = index(folder, text="mine"), index(folder, text="mine", page="2")
    assert "page 1 of 2" in first
    assert 'href="?text=mine&amp;page=2" rel="next"' in first
    rows = [re.findall(r"20\d{6}T\d{6}Z-\d{4}", page) for page in (first, second)]
    assert len({*rows[0], *rows[1]}) == 252
    assert not set(rows[0]) & set(rows[1])


def test_a_report_that_the_trend_lacks_is_read_itself(folder: Path) -> None:
    """The folder was copied, or the trend was moved away."""
    (folder / FILE).unlink()
    assert listed(index(folder)) == [OTHER, RUN]


def test_a_run_whose_page_was_deleted_has_no_link(folder: Path) -> None:
    """It stays in the list."""
    (folder / RUN / "report.html").unlink()
    page = index(folder)
    assert listed(page) == [OTHER]
    assert f"{RUN} (its page is gone)" in page


def test_a_report_that_is_written_later_is_seen(folder: Path) -> None:
    """What was read before is read again once it has changed."""
    seen = ReportsFolder(folder)
    assert len(seen.found().rows) == 2
    add_run(folder / FILE, changed(red_report(run="r3"), "r3", "2026-03-01T00:00:00Z"))
    assert [row.run for row in seen.found().rows] == ["r3", OTHER, RUN]


def test_damaged_files_are_named_and_hide_nothing_else(folder: Path) -> None:
    """A report, a sweep and the trend that can't be read leave the others listed."""
    (folder / "20260103T000000Z-0003").mkdir()
    (folder / "20260103T000000Z-0003" / "report.json").write_text("{")
    (folder / "20260103T000000Z-0003" / "sweep.json").write_text('{"rows": 3}')
    (folder / FILE).write_bytes(b"no database at all" * 100)
    page = index(folder)
    assert listed(page) == [OTHER, RUN]
    for name in (FILE, "0003/report.json", "0003/sweep.json"):
        assert name in page


def test_sweeps_are_listed(folder: Path) -> None:
    """With how many adapters have each verdict, and a link to their page."""
    at = folder / "20260104T000000Z-0004"
    at.mkdir()
    rows = [{"kind": kind} for kind in ("PASS", "REGRESSION", "PASS")]
    found = {"base": HOSTILE, "adapters": 4, "waiting": ["d"], "rows": rows}
    (at / "sweep.json").write_text(json.dumps(found))
    (at / "sweep.html").write_text("<!doctype html>")
    page = index(folder)
    assert f'<a href="runs/{at.name}/sweep.html">' in page
    assert re.search(r"REGRESSION</span> 1 .*PASS</span> 2 1 not judged yet", page)
    assert "<script>alert" not in page


def test_an_empty_folder_is_explained(tmp_path: Path) -> None:
    """With the command that makes a run; the folder need not be there."""
    page = index(tmp_path / "reports")
    assert "No run has written its results to reports/ yet" in page
    assert "capgate run --model-id" in page


def test_hostile_names_are_shown_as_text(folder: Path) -> None:
    """Of targets, runs, filters and what goes on; secrets are cut out."""
    report = red_report(target=HOSTILE, run=HOSTILE)
    add_run(folder / FILE, report)
    part = TargetNow(HOSTILE, HOSTILE, 3, 2, 9, quick=False, judged=False)
    runs = [RunNow(HOSTILE, on, "2026", (part,), HOSTILE) for on in (True, False)]
    page = index(folder, ProgressNow(tuple(runs), HOSTILE), text=HOSTILE, verdict=HOSTILE)
    page += index(folder)
    assert "<script>alert" not in page
    for one in ("\x1b", "\u202e", SECRET):
        assert one not in page
    assert 'value="&lt;script&gt;' in page


def test_the_page_is_served_to_who_knows_the_token(site: Site) -> None:
    """Under a policy that lets nothing be loaded from anywhere."""
    reply = ask(site)
    assert reply.status == 200
    assert listed(reply.text) == [OTHER, RUN]
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert site.server_address[0] == "127.0.0.1"


def test_a_report_is_served_under_its_own_policy(site: Site, folder: Path) -> None:
    """Its bytes are those of the file; its script runs in an origin of its own."""
    reply = ask(site, within=f"runs/{RUN}/report.html")
    assert reply.text == (folder / RUN / "report.html").read_text(encoding="utf-8")
    policy = reply.headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in policy
    assert policy.endswith("sandbox allow-scripts")


def test_a_page_that_capgate_has_not_written_runs_nothing(site: Site, folder: Path) -> None:
    """No script, no form, no request."""
    (folder / RUN / "report.html").write_text("<script>alert(1)</script>")
    reply = ask(site, within=f"runs/{RUN}/report.html")
    assert reply.headers["Content-Security-Policy"] == NO_SCRIPT
    loose = b"""<meta http-equiv="Content-Security-Policy" content="script-src 'unsafe-inline'">"""
    assert policy_of(loose) == NO_SCRIPT


def test_the_progress_is_served(site: Site, folder: Path) -> None:
    """As JSON, with what is asked by target."""
    root = folder.parent
    with open_store(StorePlace.file(folder / "answers.sqlite")) as store:
        (folder / "run-3").mkdir()
        keep_run(root, "run-3", answers()[:40], shard=None, mode="full")
        store.start_run("run-3", {})
        (run,) = json.loads(ask(site, within="progress.json").text)["runs"]
    assert (run["run"], run["goes_on"]) == ("run-3", True)
    (target,) = run["targets"]
    assert (target["target"], target["asked"], target["chosen"]) == ("mine", 40, 228)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/progress.json",
        f"/runs/{RUN}/report.html",
        f"/{'0' * 32}/",
        f"/{'0' * 32}/progress.json",
        "//evil.example/",
        "/%00/",
        "http://evil.example/",
    ],
)
def test_nothing_is_told_without_the_token(site: Site, path: str) -> None:
    """Neither pages, progress nor whether there is a run."""
    reply = ask(site, path)
    assert reply.status == 404
    assert "mine" not in reply.text
    assert site.token not in f"{reply.headers}{reply.text}"


@pytest.mark.parametrize(
    "place",
    [
        f"runs/{RUN}/report.json",
        f"runs/{RUN}/logs/x.json",
        f"runs/{RUN}",
        f"runs/{RUN}/",
        "runs/../report.html",
        "runs/%2e%2e/report.html",
        "runs/..%2freports%2f{RUN}/report.html",
        f"runs/{RUN}/../{RUN}/report.html",
        f"runs/{RUN}/..%2freport.html",
        f"runs/{RUN}%00/report.html",
        "runs//report.html",
        "runs/./report.html",
        "runs/%2fetc/report.html",
        "answers.sqlite",
        FILE,
        "../",
        "%",
    ],
)
def test_only_pages_of_runs_are_read(site: Site, folder: Path, place: str) -> None:
    """No other file of the folder, and none outside."""
    (folder / "report.html").write_text("no run's")
    (folder.parent / "report.html").write_text("outside")
    assert ask(site, within=place).status == 404


def test_links_are_not_followed(site: Site, folder: Path) -> None:
    """Neither a folder nor a page that is a link; nor is a pipe waited for."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "report.html").write_text("outside")
    (folder / "linked").symlink_to(outside)
    for name in ("page", "pipe", "deep"):
        (folder / name).mkdir()
    (folder / "page" / "report.html").symlink_to(outside / "report.html")
    os.mkfifo(folder / "pipe" / "report.html")
    (folder / "deep" / "report.html").mkdir()
    for name in ("linked", "page", "pipe", "deep"):
        assert ask(site, within=f"runs/{name}/report.html").status == 404
        assert f"runs/{name}/" not in ask(site).text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"])
def test_nothing_but_reading_is_answered(site: Site, method: str) -> None:
    """Other methods are refused before their path is looked at."""
    reply = ask(site, method=method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_alone(site: Site) -> None:
    """As HTTP wants it."""
    reply = ask(site, method="HEAD")
    assert (reply.status, reply.text) == (200, "")
    assert int(reply.headers["Content-Length"]) > 1_000


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example",
        "[::1]:{port}",
        "0.0.0.0:{port}",
        "",
    ],
)
def test_a_name_that_was_bound_to_this_address_is_refused(site: Site, host: str) -> None:
    """A page of the web can't read the reports by a name of its own (DNS rebinding)."""
    port = str(site.server_address[1])
    assert ask(site, Host=host.replace("{port}", port)).status == 421
    assert ask(site, Host=f"localhost:{port}").status == 200


def test_what_can_t_be_shown_is_told(site: Site, folder: Path) -> None:
    """The trend was changed by hand; the server goes on."""
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute("UPDATE runs SET accuracy = 'much'")
    assert ask(site).status == 500
    assert ask(site, within=f"runs/{RUN}/report.html").status == 200


def test_each_server_has_a_token_of_its_own(folder: Path) -> None:
    """It can't be guessed from that of another."""
    progress = LiveProgress(StorePlace.file(folder / "none.sqlite"), folder)
    tokens = set()
    for _ in range(3):
        with Site(ReportsFolder(folder), progress, Redactor([])) as one:
            tokens.add(one.token)
    assert len(tokens) == 3
    assert all(len(token) == 32 for token in tokens)


def test_a_port_that_is_taken_is_told(site: Site) -> None:
    """With what to do."""
    port = int(site.server_address[1])
    with pytest.raises(ConfigError, match=r"(?s)can't be used.*leave --port out"):
        Site(site.folder, site.progress, Redactor([]), port)


def test_a_hostile_filter_comes_back_as_text(site: Site) -> None:
    """What a link puts into the address is never markup."""
    reply = ask(site, within=f"?{urlencode({'text': HOSTILE, 'target': HOSTILE})}")
    assert reply.status == 200
    assert "<script>alert" not in reply.text
    assert "&lt;script&gt;alert(1)" in reply.text
    assert ask(site, within="?" + "&".join(f"a{n}=1" for n in range(99))).status == 400
    assert ask(site, within=f"runs/{quote(HOSTILE)}/report.html").status == 404


def test_a_run_that_died_is_told_as_ended_with_its_command(folder: Path) -> None:
    """Without a process and a report; one that has its report is not listed."""
    root = folder.parent
    for run in ("dead", RUN):
        (folder / run).mkdir(exist_ok=True)
        keep_run(root, run, answers()[:40], shard=None, mode="full")
    now = LiveProgress(StorePlace.file(folder / "answers.sqlite"), folder).now()
    (run,) = now.runs
    assert (run.run, run.goes_on) == ("dead", False)
    assert run.command.startswith("pytest benchmarks")
    page = index(folder, now)
    assert "ended before its report" in page
    assert run.command in page


def test_a_run_goes_on_between_its_last_worker_and_its_report(folder: Path) -> None:
    """With pytest-xdist nobody has the store open then; later it has ended, or has its report."""
    place, now = StorePlace.file(folder / "answers.sqlite"), [0.0]
    look = LiveProgress(place, folder, clock=lambda: now[0])
    for run in ("dies", "ends"):
        (folder / run).mkdir()
        keep_run(folder.parent, run, answers()[:40], shard=None, mode="full")
    with open_store(place) as store:
        store.start_run("dies", {})
        store.start_run("ends", {})
        assert {run.run: run.goes_on for run in look.now().runs} == {"dies": True, "ends": True}
    now[0] = 2.0
    assert {run.run: run.goes_on for run in look.now().runs} == {"dies": True, "ends": True}
    write_data(red_report(run="ends"), folder / "ends")
    now[0] = 4.0
    assert {run.run: run.goes_on for run in look.now().runs} == {"dies": True}
    now[0] = 20.0
    assert {run.run: run.goes_on for run in look.now().runs} == {"dies": False}


def test_a_run_of_another_machine_is_known_by_what_it_writes(folder: Path) -> None:
    """In a folder that machines share; once it was silent for long, or is judged, it has ended."""
    place = StorePlace.read(f"{folder.parent / 'shared'}/")
    about = {"mode": "full", "model_id": "mine"}
    with open_store(place) as store:
        store.start_run("far", {"task": "t"})
        began, _ = store.begun("far")
        store.end_shard("far", "mine", Shard("entry", MMLU), about)

    def goes_on(later: float) -> list[bool]:
        look = LiveProgress(place, folder, clock=lambda: began + later)
        return [run.goes_on for run in look.now().runs]

    assert goes_on(10.0) == [True]
    assert goes_on(1_000.0) == []
    (folder / "far").mkdir()
    assert goes_on(1_000.0) == [False]
    with open_store(place) as store:
        store.end_shard("far", "mine", Shard("suite", MMLU), {"verdict": None})
    assert goes_on(10.0) == [False]


def test_a_store_that_can_t_be_read_is_told(folder: Path) -> None:
    """The list is shown all the same."""
    (folder / "answers.sqlite").write_bytes(b"no store" * 1_000)
    now = LiveProgress(StorePlace.file(folder / "answers.sqlite"), folder).now()
    assert "can't be" in now.fault
    page = index(folder, now)
    assert listed(page) == [OTHER, RUN]
    assert "is damaged" in page
