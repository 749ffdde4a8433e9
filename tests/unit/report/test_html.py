"""The HTML report's parts: small, closed, and true to its data. The browser is elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markupsafe import escape
from tests.unit.report.examples import C, W, flip, red_report, report_of

from capgate.common.answers import Answer
from capgate.gate.decide_floor import Floor, decide_floor
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, Single
from capgate.gate.verdict import Verdict
from capgate.report.data.comparison import Side, Split
from capgate.report.data.history import entries
from capgate.report.data.labels import AskedPair
from capgate.report.data.published_beside import CAUTION
from capgate.report.page.charts import drop_chart, evidence_chart, nice_ticks, trend_chart
from capgate.report.page.html import render_html
from capgate.report.page.payload import pack, unpack
from capgate.report.text.advice import headline, next_steps


def test_a_page_names_its_only_script_and_style() -> None:
    """The content security policy allows them by their hash, and nothing else at all."""
    page = render_html(red_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]
    assert not re.search(r"<(?:link|img|iframe|object)\b|\bon\w+=|style=", page)
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "]]>", "<!--", "\x1b[31m", "{{ 7 * 7 }}"]
)
def test_text_is_only_ever_text(text: str) -> None:
    """Whether in a reason, in an answer or in a name, it stays escaped or packed."""
    report = red_report([flip(at, text=text) for at in range(40)])
    verdict = {**(report.verdict or {}), "reasons": [text]}
    result = report.targets["mine"].model_copy(update={"verdict": verdict})
    page = render_html(report.model_copy(update={"targets": {"mine": result}}))
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "\x1b" not in page
    assert "49" not in re.findall(r"<li>([^<]*)</li>", page)


def test_a_page_keeps_to_its_limit_by_cutting_long_texts_first() -> None:
    """Every flip stays with its letters; what was left out is counted."""
    import random

    dice = random.Random(0)
    flips = [flip(at, text=dice.randbytes(3_000).hex()) for at in range(300)]
    report = red_report(flips)
    page = render_html(report, limit=200_000)
    assert len(page.encode()) <= 200_000
    whole, none_left = pack(report, 10_000_000)
    assert none_left == 0
    assert unpack(whole)["targets"][0]["flips"][0]["c"]["t"] == flips[0].candidate.text
    cut, shortened = pack(report, 120_000)
    data = unpack(cut)
    assert len(data["targets"][0]["flips"]) == 300
    assert shortened > 0
    assert all(one["c"]["c"] == "B" for one in data["targets"][0]["flips"])
    least, left = pack(report, 0)
    assert left == 300
    assert all(question[1] is None for question in unpack(least)["questions"].values())


def test_the_drop_chart_stands_on_its_axis() -> None:
    """Zero, what is tolerated, what must be caught and the interval lie in order."""
    verdict = red_report().verdict
    assert verdict is not None
    chart = drop_chart(verdict)
    assert chart is not None
    assert chart.low is not None
    assert chart.high is not None
    assert chart.catch is not None
    assert chart.zero < chart.catch < chart.low < chart.drop < chart.high
    assert drop_chart({**verdict, "drop": None}) is None


def test_the_evidence_chart_ends_where_the_run_did() -> None:
    """One step for each batch, from nothing; higher evidence is higher up."""
    step = {"needed_harm": 1.4, "needed_harmless": 1.3}
    path = [
        {"questions": 16, "log10_harm": 0.2, "log10_harmless": -0.3, **step},
        {"questions": 32, "log10_harm": 1.5, "log10_harmless": -9.0, **step},
    ]
    chart = evidence_chart(path)
    assert chart is not None
    assert len(chart.harm.points.split()) == 3
    assert chart.harm.last[1] < chart.harm.threshold < chart.zero < chart.harmless.last[1]
    assert evidence_chart([]) is None
    # The highest value decides, and not the last one.
    assert "against “a loss” 0.00 of 1.30" in chart.text
    verdict = {"hypothesis": "no loss", "measure": "log10_e", "value": 1.62}
    again = evidence_chart(path, [verdict])
    assert again is not None
    assert "against “no loss” 1.62 of the 1.40 needed" in again.text


@pytest.mark.parametrize(
    ("finished", "labels"),
    [
        (["2026-01-02T10:00:00Z", "2026-01-03T10:00:00Z"], ["2026-01-02", "2026-01-03"]),
        (["2026-01-02T10:00:00Z", "2026-01-02T11:30:00Z"], ["01-02 10:00", "01-02 11:30"]),
        (["2026-01-02T10:00:07Z", "2026-01-02T10:00:31Z"], ["01-02 10:00:07", "01-02 10:00:31"]),
    ],
)
def test_an_axis_of_time_has_no_label_twice(finished: list[str], labels: list[str]) -> None:
    """Runs of one day are told apart by the time of day."""
    rows = [
        replace(entries(red_report())[0], run=f"r{at}", finished=one)
        for at, one in enumerate(finished)
    ]
    chart = trend_chart(rows, "r1")
    assert chart is not None
    assert [tick.label for tick in chart.x_ticks] == labels


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 40), (57.8, 57.9), (0, 14042), (2, 2)])
def test_ticks_cover_what_they_measure(low: float, high: float) -> None:
    """Few, round and wide enough."""
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert len(ticks) <= 8


def test_the_headline_says_what_happened() -> None:
    """Losses, gains and nothing in one sentence each."""

    def verdict(losses: int, gains: int) -> dict[str, object]:
        rows = [(C, W)] * losses + [(W, C)] * gains + [(C, C)] * (1_000 - losses - gains)
        pairs = [Pair(str(at), "anatomy", *row) for at, row in enumerate(rows)]
        return decide_fixed(pairs, Policy()).to_dict()

    assert headline("mine", verdict(100, 10)).startswith("mine lost 9.0 points (95 % interval +")
    assert headline("mine", verdict(10, 100)).startswith("mine gained 9.0 points")
    assert headline("mine", verdict(0, 0)).startswith("mine lost nothing")
    assert headline("mine", None) == "mine was measured and not judged"
    assert "concentrated in the subject anatomy" in next_steps(verdict(100, 10), None)[0]


def test_a_run_that_lost_nothing_gives_no_reason_for_losses() -> None:
    """No section on why, and no sentence on a drop that there is not."""
    pairs = [Pair(str(at), "anatomy", C, C) for at in range(60)]
    answers = [Answer(pair.question, pair.subject, C, "A") for pair in pairs]
    sides = [AskedPair(p.question, p.subject, Side(state=C), Side(state=C)) for p in pairs]
    report = report_of("mine", "run", answers, decide_fixed(pairs, Policy()), sides)
    page = render_html(report)
    assert "lost nothing" in page
    assert "Why the lost questions were lost" not in page


def test_a_run_that_could_ask_nobody_says_why_and_no_more() -> None:
    """The fault in its words, what to do, and the command; no empty section."""
    verdict = Verdict.of_error("nothing accepts connections there", scope="suite").to_dict()
    report = red_report().model_copy(
        update={
            "targets": {},
            "comparisons": {},
            "not_judged": {"mine": verdict},
            "verdict": verdict,
        }
    )
    page = render_html(report)
    assert "Nothing could be judged" in page
    assert "nothing accepts connections there" in page
    assert "pytest benchmarks -m quick --model-id mine" in page
    assert "Versions" not in page
    assert "capgate triage" not in page


def test_a_loss_in_one_domain_is_not_called_spread() -> None:
    """Where no subject failed by itself, the domain that lost nearly all is named."""
    report = red_report()
    comparison = report.comparisons["mine"]
    whole = comparison.overall
    assert whole is not None
    part = {"losses": 0, "gains": 0, "n": 150}
    domains = {"humanities": whole, "other": whole.model_copy(update=part)}
    verdict = {**(report.verdict or {}), "subjects": []}
    steps = next_steps(verdict, comparison.model_copy(update={"domains": domains}))
    assert any("40 of 40 lost questions are of one domain, humanities" in one for one in steps)
    assert not any("spread" in one for one in steps)
    assert any("spread" in one for one in next_steps(verdict, comparison))


def test_a_quick_run_is_sent_to_look_where() -> None:
    """It asks too few of each subject to call a loss spread."""
    verdict = red_report().verdict
    assert verdict is not None
    quick = {**verdict, "scope": "quick", "subjects": []}
    assert any("-m full" in step for step in next_steps(quick, None))
    assert not any("spread" in step for step in next_steps(quick, None))


def test_a_published_score_stands_beside_the_run_with_what_it_is_worth() -> None:
    """How the names were matched, how far apart they are, and that nothing follows from it."""
    assert CAUTION not in render_html(red_report())
    report = red_report()
    score = {
        "model": "Mine-7B",
        "mmlu": 65.0,
        "source": "model card",
        "setup": "5-shot",
        "matched": "'org/mine-7b' was taken for 'Mine-7B'",
    }
    found = {"published": score, "accuracy": 0.6, "difference": -0.05}
    result = report.targets["mine"].model_copy(update={"published": found})
    page = render_html(report.model_copy(update={"targets": {"mine": result}}))
    assert "Published: Mine-7B 65.0 % (model card; setup: 5-shot)" in page
    assert "mine has 60.0 % here on 2 of 57 subjects, -5.0 points" in page
    assert escape(CAUTION) in page


def test_the_drop_is_drawn_in_its_two_shares() -> None:
    """Only where unparsed questions were asked again, and both are a part of it."""
    report = red_report()
    comparison = report.comparisons["mine"]
    split = Split(status="asked", questions=4, asked=4, drop=0.4, format=0.1, knowledge=0.3)
    asked = comparison.model_copy(update={"split": split})
    page = render_html(report.model_copy(update={"comparisons": {"mine": asked}}))
    assert "■ format 10.0 points" in page
    assert 'class="format" x="0" y="0" width="25.0"' in page
    assert "■ format" not in render_html(report)


def test_a_gain_s_interval_is_of_the_gain() -> None:
    """Its ends are told the way round of the noun that stands before them."""
    gained = [Pair(str(at), "anatomy", W if at < 30 else C, C) for at in range(100)]
    better = decide_fixed(gained, Policy())
    assert better.interval is not None
    low, high = -100 * better.interval.high, -100 * better.interval.low
    assert 0 < low < 30 < high
    told = headline("mine", better.to_dict())
    assert told == f"mine gained 30.0 points (95 % interval {low:+.1f} to {high:+.1f})"
    over = decide_floor([Single(str(at), "anatomy", C) for at in range(100)], Floor(0.5), Policy())
    for told in (headline("mine", over.to_dict()), over.reasons[0]):
        assert re.search(
            r"50\.0 points over .*\(9\d(?:\.\d+)? % interval \+4\d\.\d to \+50\.0\)", told
        )


def test_every_table_has_a_caption() -> None:
    """A screen reader can name each, and no head cell is empty."""
    page = render_html(red_report())
    tables = re.findall(r"<table\b[^>]*>(.*?)</table>", page, re.S)
    assert len(tables) >= 4
    for table in tables:
        assert re.match(r"\s*<caption\b[^>]*>[^<]+</caption>", table)
        assert not re.search(r"<t[hd]\b[^>]*></t[hd]>", table.partition("</thead>")[0])


def test_subjects_are_named_in_words() -> None:
    """In sentences and tables alike, and what evidence means is said without formulas."""
    lost = [flip(at, subject="formal_logic") for at in range(40)]
    page = render_html(red_report(lost))
    assert "; lost: the subject formal logic" in page
    assert "“no loss” is ruled out (p = " in page
    assert "formal_logic" not in page
