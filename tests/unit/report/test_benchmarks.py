"""Reports of several benchmarks: a section for each, and the verdict over all before them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from tests.doubles.suites import (
    DESK,
    HOUSE,
    MINE,
    RUN,
    SUMS,
    Asked,
    keep_suite_run,
    red_suite,
    suite_report,
)
from tests.unit.report.test_github import NASTY, outside_code
from tests.unit.report.test_results import never, settings

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.cli import main
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError
from capgate.common.nouns import GROUPS
from capgate.common.redact import Redactor
from capgate.common.text import harmless
from capgate.config.published_scores import load_published
from capgate.gate import Pair, Policy, decide_fixed
from capgate.report import alerts
from capgate.report.data.build import build_report, exit_code
from capgate.report.data.history import FILE, add_run, by_series, entries, read_history
from capgate.report.data.read import read_report
from capgate.report.data.result import Report, shipped_schema
from capgate.report.data.standings import standings
from capgate.report.page.html import render_html
from capgate.report.page.payload import pack, unpack
from capgate.report.text import github
from capgate.report.text.advice import headline, next_steps
from capgate.report.text.terminal import render_report
from capgate.report.write import redacted, write_results
from capgate.run.run import Run
from capgate.store.answer_store import Store


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """MMLU kept, a benchmark of free text lost, an advisory one with choices lost as well."""
    return suite_report(tmp_path_factory.mktemp("red"), red_suite())


def lines(report: Report) -> list[str]:
    """The lines that a run ends with."""
    return render_report(report, [], root=Path("/"))


def test_mmlu_stands_at_the_top_and_the_others_beside_it(red: Report) -> None:
    """A program that knows MMLU's fields finds them where they were; all sections are alike."""
    assert red.benchmark == MMLU
    assert red.targets[MINE].benchmark == MMLU
    assert list(red.benchmarks) == ["sums", "support-desk"]
    assert list(red.sections) == [MMLU, "sums", "support-desk"]
    assert red.sections[MMLU].targets == red.targets
    assert all(set(one.targets) == {"base", MINE} for one in red.sections.values())
    assert red.targets[MINE].overall.questions == 228
    assert red.benchmarks["sums"].targets[MINE].overall.questions == 120


def test_without_mmlu_the_first_benchmark_asked_stands_at_the_top(tmp_path: Path) -> None:
    """The order is the one in which they were asked for."""
    report = suite_report(tmp_path, [SUMS, DESK])
    assert (report.benchmark, list(report.benchmarks)) == ("sums", ["support-desk"])


def test_a_report_of_several_is_read_as_it_was_written_and_fits_the_schema(
    red: Report, tmp_path: Path
) -> None:
    """Also after everything secret was taken out of it."""
    raw = json.loads(redacted(red, Redactor(["hunter2"])).model_dump_json())
    jsonschema.validate(raw, shipped_schema(), cls=jsonschema.Draft202012Validator)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(raw))
    assert read_report(file) == red


def test_a_key_that_is_a_word_of_the_verdict_over_all_leaves_it_readable(red: Report) -> None:
    """Whichever of its fields' names or values it is."""
    suite = red.suites[MINE]
    words = {*suite, *suite["benchmarks"][0], suite["kind"], suite["scope"], "together", "length"}
    for word in sorted(words):
        assert redacted(red, Redactor([word])).suites[MINE]["kind"] == "REGRESSION"


def test_of_mmlu_alone_nothing_more_is_written_than_before(tmp_path: Path) -> None:
    """No member tells of benchmarks in the report, its results and its comparisons."""
    report = suite_report(tmp_path, [Asked(MMLU, lost=range(0, 228, 4))], over_all=False)
    raw = json.loads(report.model_dump_json())
    assert not {"benchmark", "benchmarks", "suites"} & set(raw)
    assert not {"benchmark", "parents", "free_text", "advisory"} & set(raw["targets"][MINE])
    assert "free_text" not in raw["comparisons"][MINE]
    assert "mine on" not in "\n".join(lines(report)) + github.summary(report)
    assert "benchmark" not in alerts.body(report, Redactor([]))["targets"][0]


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("suites", "other"), None, "suites.other"),
        (("benchmarks", "sums", "targets", "mine", "benchmark"), "other", "should be sums"),
        (("benchmarks", "sums", "targets", "mine", "dataset"), {}, "benchmarks.sums.targets.mine"),
        (("suites", "mine", "kind"), "FINE", "kind"),
    ],
)
def test_damage_in_a_section_is_refused_with_its_place(
    red: Report, tmp_path: Path, path: tuple[str, ...], to: object, said: str
) -> None:
    """A section of another benchmark is checked as MMLU's is."""
    raw = json.loads(red.model_dump_json())
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = raw["suites"]["mine"] if to is None else to
    file = tmp_path / "report.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=r"changed by hand") as caught:
        read_report(file)
    assert said in str(caught.value)


def test_the_run_ends_by_the_verdict_over_all(tmp_path: Path) -> None:
    """Small losses everywhere fail it though no benchmark does alone."""
    small = [
        replace(SUMS, name=f"sums-{letter}", n=200, lost=range(0, 200, 29)) for letter in "abcdef"
    ]
    report = suite_report(tmp_path, small)
    kinds = {one.targets[MINE].verdict["kind"] for one in report.sections.values()}  # type: ignore[index]
    assert "REGRESSION" not in kinds
    assert report.verdict == report.suites[MINE]
    assert (report.verdict_of, exit_code(report)) == (MINE, 1)
    assert "lost a little on 6 benchmarks together" in render_html(report)
    assert any("No benchmark alone shows where" in line for line in lines(report))


def test_an_advisory_benchmark_is_shown_and_decides_nothing(tmp_path: Path) -> None:
    """Its loss ends in no exit code and no alert, and GitHub shows it as a warning."""
    report = suite_report(
        tmp_path,
        [
            replace(SUMS, n=400),
            replace(DESK, n=400),
            replace(HOUSE, lost=range(0, 120, 2), advisory=True),
        ],
    )
    assert exit_code(report) == 0
    assert not alerts.wanted(report)
    text = "\n".join(lines(report))
    assert text.startswith("PASS: mine over 3 benchmarks")
    assert re.search(r"house-rules +120 .*REGRESSION \(advisory\)", text)
    commands = github.workflow_commands(report)
    assert commands
    assert all(line.startswith("::warning") for line in commands)


def test_a_benchmark_that_could_not_be_judged_is_an_error_that_names_it(tmp_path: Path) -> None:
    """The others are shown as they were judged."""
    report = suite_report(tmp_path, [replace(SUMS, n=400), replace(DESK, fault="no questions")])
    assert exit_code(report) == 11
    assert [(one.benchmark, one.word) for one in standings(report, MINE)] == [
        ("sums", "PASS"),
        ("support-desk", "ERROR"),
    ]
    assert report.benchmarks["support-desk"].not_judged[MINE]["kind"] == "ERROR"
    page, summary = render_html(report), github.summary(report)
    for text in ("\n".join(lines(report)), page, summary):
        assert "no questions" in text
    assert "could not be judged on 1 of 2 benchmarks: support-desk" in page
    assert "### ⛔ ERROR: `mine on support-desk`" in summary


def test_one_benchmark_other_than_mmlu_is_named_and_has_nothing_over_all(tmp_path: Path) -> None:
    """Every form says which it was; a table of one row would say nothing more."""
    report = suite_report(tmp_path, [replace(SUMS, lost=range(60))])
    assert (report.benchmark, report.benchmarks, exit_code(report)) == ("sums", {}, 1)
    told, page = lines(report), render_html(report)
    assert told[0].startswith("mine on sums  data/sums.jsonl")
    assert not any("over 1 benchmark" in line for line in told)
    assert "mine on sums lost 50.0 points" in page
    assert 'id="suite-1"' not in page
    (alert,) = alerts.body(report, Redactor([]))["targets"]
    assert alert["benchmark"] == "sums"
    (command,) = github.workflow_commands(report)
    assert command.startswith("::error title=capgate REGRESSION%3A mine on sums::")
    assert [one.benchmark for one in entries(report)] == ["sums", "sums"]


def test_the_terminal_tells_the_verdict_over_all_first_then_each(red: Report) -> None:
    """With a row for each benchmark: both accuracies, drop, interval, catch and word."""
    told = lines(red)
    assert told[0] == "REGRESSION: mine over 3 benchmarks"
    rows = [" ".join(line.split()) for line in told]
    assert "sums 120 65.0% 100.0% +35.0 +27.1 to +43.9 5 REGRESSION" in rows
    assert any(row.startswith("false alarm 0.05 = all together") for row in rows)
    heads = [told.index(f"{kind}: mine on {name}") for kind, name in ENDED]
    assert heads == sorted(heads)
    assert heads[0] > rows.index("sums 120 65.0% 100.0% +35.0 +27.1 to +43.9 5 REGRESSION")


ENDED = (("INCONCLUSIVE", MMLU), ("REGRESSION", "sums"), ("REGRESSION", "support-desk"))


def test_groups_without_parents_and_benchmarks_without_groups_have_their_tables(
    tmp_path: Path,
) -> None:
    """Groups stand under their parent where they have one; a benchmark without has one row."""
    report = suite_report(tmp_path, [SUMS, HOUSE, DESK])
    text = "\n".join(lines(report))
    sums, house, desk = (
        text[text.index(f"mine on {name}  data") :].partition("\n\n")[0]
        for name in ("sums", "house-rules", "support-desk")
    )
    assert [line.split()[0] for line in sums.splitlines()[1:]] == ["group", "all"]
    assert [line.split()[0] for line in house.splitlines()[1:-1]] == [
        "group",
        "opening_hours",
        "refunds",
        "returns",
        "all",
    ]
    assert [line.split()[0] for line in desk.splitlines()[1:-1]] == [
        "group",
        "billing",
        "login",
        "account",
        "late_parcels",
        "shipping",
        "parcels",
        "all",
    ]
    page = render_html(report)
    assert "Accuracy by group" in page
    assert "opening hours" in page
    assert "by subject" not in page


def test_what_is_said_of_another_benchmark_speaks_of_groups(red: Report) -> None:
    """MMLU's words, subject and domain, stay MMLU's own."""
    (verdict,) = (one for one in [red.benchmarks["support-desk"].targets[MINE].verdict] if one)
    assert verdict["reasons"][1:] == [
        "Parents that lost (Holm over 4 groups and 2 parents): account (50.0 points).",
        "Groups that lost (Holm over 4 groups and 2 parents): login (100.0 points).",
    ]
    text = "\n".join(lines(red))
    desk = text[text.index("mine on support-desk") :]
    assert "groups together" in desk
    assert not re.search("subject|domain", desk)
    assert "4 domains" in text.partition("mine on sums")[0]


def test_benchmarks_that_were_judged_alone_say_so(tmp_path: Path) -> None:
    """Where no test judged all together, the worst of them stands in the page's headline."""
    report = suite_report(tmp_path, [SUMS, replace(DESK, lost=range(60))], over_all=False)
    assert exit_code(report) == 1
    assert lines(report)[0] == "no verdict over all: mine over 2 benchmarks"
    page, summary = render_html(report), github.summary(report)
    assert summary.startswith("### 📏 no verdict over all: `mine`")
    assert "<span>mine on support-desk lost 50.0 points" in page
    assert "no verdict over all</span> mine</h2>" in page


def test_free_text_is_labelled_by_what_it_can_be(red: Report) -> None:
    """Cut off, not in form, or knowledge; no letter is looked for."""
    comparison = red.benchmarks["sums"].comparisons[MINE]
    assert comparison.free_text
    assert comparison.labels == {"cut off": 1, "format": 1, "knowledge": 40}
    assert comparison.shifts == ()
    assert all(flip.choices == () for flip in comparison.flips)
    assert red.benchmarks["support-desk"].comparisons[MINE].labels == {"letter shift": 30}


def test_each_benchmark_has_result_files_of_its_own_name(red: Report, tmp_path: Path) -> None:
    """MMLU's name is as it was; each holds its own benchmark's result."""
    keep_suite_run(tmp_path, red_suite())
    with closing(Run(settings(tmp_path), RUN, endpoint=never)) as run:
        told = write_results(run, complete=True)
    assert any("reports/mine/sums_mine_2" in line for line in told)
    written = tmp_path / "reports" / MINE
    latest = {path.name: json.loads(path.read_text()) for path in written.glob("*_latest.json")}
    assert set(latest) == {f"{name}_mine_latest.json" for name in red.sections}
    assert "benchmark" not in latest["mmlu_mine_latest.json"]
    assert latest["sums_mine_latest.json"]["benchmark"] == "sums"
    assert latest["support-desk_mine_latest.json"]["parents"] == dict(DESK.parents)
    for name in red.sections:
        assert len(list(written.glob(f"{name}_mine_2*.json"))) == 1


def test_the_summary_shows_the_verdict_over_all_before_each_benchmark(red: Report) -> None:
    """And the comment's marker tells runs of other benchmarks apart."""
    summary = github.summary(red)
    heads = re.findall(r"^### (.*)$", summary, flags=re.MULTILINE)
    assert heads == [
        "❌ REGRESSION: `mine`",
        "⚠️ INCONCLUSIVE: `mine on mmlu`",
        "❌ REGRESSION: `mine on sums`",
        "❌ REGRESSION: `mine on support-desk`",
    ]
    assert "mine lost on 1 of 2 benchmarks: sums (35.0 points)." in summary
    row = "| `sums` | 120 | 65.0% | 100.0% | +35.0 | +27.1 to +43.9 | 5 | **REGRESSION** |"
    assert row in summary
    first = github.comment(red).splitlines()[0]
    fewer = red.model_copy(update={"benchmarks": {"sums": red.benchmarks["sums"]}})
    assert github.comment(fewer).splitlines()[0] != first


def test_annotations_begin_with_the_verdict_over_all(red: Report) -> None:
    """Each names its benchmark; what an advisory one lost is a warning."""
    commands = github.workflow_commands(red)
    assert commands[0].startswith("::error title=capgate REGRESSION%3A mine::mine lost on 1 of 2")
    assert commands[1].startswith("::error title=capgate REGRESSION%3A mine on sums::")
    assert [line for line in commands if "support-desk" in line and "::error" in line] == []


def test_an_alert_names_the_benchmarks(red: Report) -> None:
    """Its members for programs do as well; an advisory one is no news."""
    body = alerts.body(red, Redactor([]))
    assert body["suites"] == [{"target": MINE, "verdict": "REGRESSION", "benchmarks": ["sums"]}]
    assert [one["benchmark"] for one in body["targets"]] == ["sums"]
    assert "mine lost on 1 of 2 benchmarks: sums" in body["text"]


def test_the_trend_has_a_row_for_each_benchmark_and_one_over_all(
    red: Report, tmp_path: Path
) -> None:
    """No line joins two benchmarks, and `capgate history` names them."""
    add_run(tmp_path / "reports" / FILE, red)
    add_run(tmp_path / "reports" / FILE, red)
    rows = read_history(tmp_path / "reports" / FILE, MINE)
    assert [row.benchmark for row in rows] == ["", MMLU, "sums", "support-desk"]
    assert (rows[0].verdict, rows[0].accuracy) == ("REGRESSION", None)
    assert len(by_series(rows)) == 4
    assert [one.benchmark for one in entries(red)] == [
        "",
        *(name for name in red.sections for _ in ("base", MINE)),
    ]
    assert "benchmark" not in rows[1].to_dict()
    assert rows[2].to_dict()["benchmark"] == "sums"


def test_capgate_history_lists_the_benchmarks_one_by_one(
    red: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The verdict over all stands first."""
    add_run(tmp_path / "reports" / FILE, red)
    monkeypatch.chdir(tmp_path)
    assert main(["history", MINE]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].strip() == "over mmlu, sums, support-desk; full"
    assert any(line.strip().startswith("sums, data set data/sums.jsonl") for line in told)


def test_an_older_trend_is_brought_up_with_mmlu_as_its_benchmark(tmp_path: Path) -> None:
    """Its rows stay, and rows of other benchmarks of the same run stand beside them."""
    file = tmp_path / FILE
    with sqlite3.connect(file) as db:
        db.execute(
            "CREATE TABLE runs (run TEXT NOT NULL, target TEXT NOT NULL, finished TEXT NOT NULL, "
            "mode TEXT NOT NULL, complete INTEGER NOT NULL, verdict TEXT NOT NULL, "
            'accuracy REAL, low REAL, high REAL, questions INTEGER NOT NULL, "drop" REAL, '
            "reference TEXT NOT NULL, series TEXT NOT NULL, asked TEXT NOT NULL, "
            "fingerprint TEXT NOT NULL, asked_now INTEGER, role TEXT NOT NULL DEFAULT '', "
            "earlier INTEGER NOT NULL DEFAULT 0, newest_earlier TEXT NOT NULL DEFAULT '', "
            "PRIMARY KEY (run, target)) WITHOUT ROWID"
        )
        row = (RUN, MINE, "2026-01-01T00:00:00Z", "full", 1, "PASS", 0.6, 0.5, 0.7, 9, 0.0)
        db.execute(
            f"INSERT INTO runs VALUES ({', '.join('?' * 19)})",
            (*row, "base", "s", "old", "f", 9, "", 0, ""),
        )
        db.execute("PRAGMA user_version = 2")
    db.close()
    (before,) = read_history(file)
    assert (before.benchmark, before.accuracy, before.asked) == (MMLU, 0.6, "old")
    add_run(file, suite_report(tmp_path, [SUMS, DESK]))
    assert {row.benchmark for row in read_history(file, MINE)} == {
        "",
        MMLU,
        "sums",
        "support-desk",
    }


def test_the_page_leads_from_the_verdict_over_all_to_each_benchmark(red: Report) -> None:
    """Its table's links and its contents lead to places that are there, each once."""
    page = render_html(red, entries(red))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(ids)
    assert page.index('id="suite-1"') < page.index("<article", page.index('id="suite-1"') + 1)
    table = page[page.index('id="suite-1"') :].partition("</article>")[0]
    assert re.findall(r'<th scope="row"><a href="#target-\d">([^<]+)</a>', table) == [
        MMLU,
        "sums",
        "support-desk",
    ]
    for name in red.sections:
        assert f"mine on {name}" in page


def test_the_page_s_list_knows_target_and_benchmark_of_each_flip(red: Report) -> None:
    """The command that shows one names the target; each benchmark has parents of its own."""
    packed, left = pack(red, 10_000_000)
    data = unpack(packed)
    assert left == 0
    assert [one["name"] for one in data["targets"]] == [f"mine on {name}" for name in red.sections]
    assert {one["id"] for one in data["targets"]} == {MINE}
    assert data["targets"][2]["domains"] == dict(DESK.parents)
    assert data["targets"][1]["domains"] == {}
    assert {"cut off", "format", "letter shift"} <= set(data["labels"])
    text = {flip["c"]["t"] for flip in data["targets"][1]["flips"]}
    assert {"I won't say", "well, ", "ANSWER: not 0"} <= text


def test_a_question_of_two_benchmarks_is_shown_in_the_group_of_each(tmp_path: Path) -> None:
    """The page's list holds it once for each benchmark."""
    lost = replace(HOUSE, lost=range(60))
    report = suite_report(tmp_path, [lost, replace(SUMS, lost=range(60))])
    flips = report.sections["house-rules"].comparisons[MINE].flips
    section = report.benchmarks["sums"]
    same = section.comparisons[MINE].model_copy(
        update={"flips": tuple(one.model_copy(update={"subject": "sums"}) for one in flips)}
    )
    changed = section.model_copy(update={"comparisons": {MINE: same}})
    data = unpack(pack(report.model_copy(update={"benchmarks": {"sums": changed}}), 10**7)[0])
    for target, groups in zip(data["targets"], (set(HOUSE.groups), {"sums"}), strict=True):
        assert {data["questions"][target["before"] + f["q"]][0] for f in target["flips"]} == groups


@pytest.mark.parametrize("n", [2, 15])
def test_the_page_keeps_its_size_with_many_benchmarks(tmp_path: Path, n: int) -> None:
    """Long unreadable answers of each do not make it larger than it may be."""
    texts = dict.fromkeys(range(20), "I will not say. " * 2_000)
    groups = tuple(f"group_{at}" for at in range(57))
    asked = [
        Asked(f"b{at}", groups=groups, n=228, lost=range(0, 228, 2), texts=texts) for at in range(n)
    ]
    report = suite_report(tmp_path, asked)
    page = render_html(report, entries(report))
    assert len(page.encode()) <= 2_000_000
    assert page.count("could not be read") >= n


def test_a_benchmark_stands_beside_its_own_published_score(tmp_path: Path) -> None:
    """Where the file of published scores has one of it."""
    file = tmp_path / "published.csv"
    file.write_text("Model Name,MMLU,GSM8K\nm,61.0,72.0\n")
    keep_suite_run(tmp_path, [Asked(MMLU), replace(SUMS, name="gsm8k", lost=range(12))])
    with Store(tmp_path / "reports" / "answers.sqlite") as store:
        report = build_report(store, RUN, complete=True, published=load_published(file))
    page = render_html(report)
    assert "Published: m 61.0 %" in page
    assert "Published: m 72.0 %" in page
    assert "mine has 90.0 % here, +18.0 points" in page
    raw = json.loads(report.model_dump_json())
    jsonschema.validate(raw, shipped_schema(), cls=jsonschema.Draft202012Validator)


HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;owned\x07",
    "::error::owned",
    "##[error]owned @octocat #1 GH-2 deadbeef1",
    "[click](https://evil.example/x) <!channel> `code` |",
    "a\nb\r\n::set-output name=x::y",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Groups, parents, answers and keys that a task's author or a model made to harm."""
    groups = tuple(f"{text} {at}" for at, text in enumerate(HOSTILE))
    desk = Asked(
        "house-rules",
        groups=groups,
        parents={group: f"{HOSTILE[at // 2]} parent" for at, group in enumerate(groups)},
        lost=range(0, 120, 2),
    )
    sums = replace(SUMS, lost=range(60), texts={at: HOSTILE[at % len(HOSTILE)] for at in range(40)})
    root = tmp_path_factory.mktemp("hostile")
    return suite_report(root, [desk, sums, replace(DESK, fault=HOSTILE[5])])


def test_hostile_names_and_answers_stay_text_on_the_terminal(hostile: Report) -> None:
    """No line of theirs begins one of ours or a command, and nothing moves the cursor."""
    for shown in map(harmless, lines(hostile)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", shown)
        assert "##[" not in shown
        for line in shown.splitlines():
            assert not line.strip().startswith("::")


@given(NASTY.filter(str.strip), NASTY)
@hypothesis_settings(max_examples=100, deadline=None)
def test_no_group_s_name_comes_alive_in_a_sentence(group: str, parent: str) -> None:
    """A benchmark's author may call groups anything; a sentence stays one, on one line."""
    states = [AnswerState.CORRECT, AnswerState.WRONG]
    pairs = [Pair(f"{at}", group, states[0], states[at % 2]) for at in range(80)]
    pairs += [Pair(f"other {at}", f"{group}!", states[0], states[0]) for at in range(80)]
    parents = {group: parent, f"{group}!": parent}
    verdict = decide_fixed(pairs, Policy(), domains=parents, nouns=GROUPS).to_dict()
    assert verdict["kind"] == "REGRESSION"
    for said in (headline("mine on rules", verdict, nouns=GROUPS), *next_steps(verdict, None)):
        assert len(said.splitlines()) == 1
        for document in (github.prose(said), f"| {github.prose(said)} | end |"):
            outside, tokens = outside_code(document)
            kinds = {token.type for token in tokens}
            assert not {"link_open", "image", "html_inline", "html_block"} & kinds
            assert not re.search(r"[@#]\w|GH-\d|://|www\.|<\w", outside)


def test_hostile_names_and_answers_stay_text_on_the_page(hostile: Report) -> None:
    """They are escaped, or packed."""
    page = render_html(hostile, entries(hostile))
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "\x1b" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)


def test_hostile_names_and_answers_come_alive_nowhere_on_github(hostile: Report) -> None:
    """Neither in the summary nor in an annotation; a message has no command or link either."""
    summary = github.summary(hostile)
    outside, tokens = outside_code(summary)
    assert not {"link_open", "image"} & {token.type for token in tokens}
    html = "".join(t.content for t in tokens if t.type in {"html_inline", "html_block"})
    assert set(re.findall(r"</?(\w+)", html)) <= {"sub", "details", "summary"}
    assert not re.search(r"@octocat|GH-2|evil\.example", outside)
    for line in summary.splitlines():
        assert not line.strip().startswith("::")
    for command in github.workflow_commands(hostile):
        assert len(command.splitlines()) == 1
        assert re.fullmatch(r"::(?:error|warning) title=[^:,]*::.*", command)
        assert "##[" not in command
    text = alerts.body(hostile, Redactor([]))["text"]
    assert "<!channel>" not in text
    assert "\x1b" not in text
