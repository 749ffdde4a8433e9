"""Whatever a server, a model or a file says, no command shows a secret or anything that acts."""

from __future__ import annotations

import io
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.replies import Reply
from tests.doubles.runs import answers, keep_run, questions
from tests.doubles.server import Server
from tests.unit.report.examples import flip, red_report

from capgate import cli
from capgate.commands import inference_server
from capgate.commands.script_aliases import openrouter
from capgate.common.output import Output
from capgate.common.redact import Redactor
from capgate.common.text import harmless
from capgate.report.data.history import FILE, add_run
from capgate.report.write import write_data

KEY = "innocent-0123456789abcdef"
TOKEN = "hf_0123456789abcdefgh"
HOSTILE = (
    f"m-{KEY} {TOKEN}\x1b[31m\x1b]8;;http://x\x07\x1b]52;c;aGk=\x07\u202e\u2066\x00"
    "\r\n::error::owned\r::warning::y\n  ::set-output name=a::b\u2028::notice::z"
    "\n##[error]a ##vso[task.complete]b ##[command]c"
)
RUN, OTHER = "20260101T000000Z-0001", "20260102T000000Z-0002"


def assert_harmless(text: str) -> None:
    """Nothing in it is secret or acts on a terminal or a job's log."""
    hostile = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert hostile <= {"\n", "\t"}, text
    assert "##[" not in text
    assert "##vso[" not in text
    assert not [line for line in text.splitlines() if line.strip().startswith("::")], text
    assert KEY not in text
    assert TOKEN[:8] not in text


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose every word is hostile."""
    with Server(models=("m", HOSTILE, f"m-{KEY}")) as running:
        running.answer = lambda _: f"{HOSTILE}\nANSWER: A"
        yield running


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and files in which all that others wrote is hostile."""
    root = tmp_path_factory.mktemp("hostile")
    texts = dict.fromkeys(range(0, 228, 2), HOSTILE)
    keep_run(root, RUN, answers(), facts={"model": HOSTILE})
    keep_run(root, OTHER, answers(texts=texts), facts={"model": HOSTILE})
    lost = [flip(at, text=HOSTILE, choices=(HOSTILE,) * 4, note=HOSTILE) for at in range(39)]
    lost.append(flip(39, text=HOSTILE, question=questions()[0].hash))
    report = red_report(lost, run=RUN)
    for result in report.targets.values():
        assert result.verdict is not None
        result.verdict["reasons"] = [HOSTILE]
    write_data(report, root / "reports" / RUN)
    add_run(root / "reports" / FILE, report)
    rows = [{"question": "q", "subject": HOSTILE, "reference": 1, "candidate": HOSTILE}]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    several = [
        {"benchmark": f"{name}{HOSTILE}", "question": str(at), "subject": HOSTILE}
        | {"reference": 1, "candidate": at % 2}
        for name in "ab"
        for at in range(20)
    ]
    (root / "several.jsonl").write_text("\n".join(map(json.dumps, several)))
    for side, right in (("before", 1), ("after", 0)):
        (root / side).mkdir()
        log = [
            {"doc": {"question": f"{at}{HOSTILE}"}, "target": HOSTILE, "resps": [[HOSTILE]]}
            | {"arguments": [[HOSTILE, {"until": HOSTILE}]], "filtered_resps": [HOSTILE]}
            | {"metrics": ["acc", HOSTILE], "acc": right}
            for at in range(30)
        ]
        path = root / side / f"samples_t-{KEY}_2026-01-01T00-00-00.0.jsonl"
        path.write_text("\n".join(map(json.dumps, log)))
        results = {"results": {}, "model_name": f"{side}{HOSTILE}", "lm_eval_version": HOSTILE}
        results |= {"versions": {f"t-{KEY}": HOSTILE}}
        path.with_name("results_2026-01-01T00-00-00.0.json").write_text(json.dumps(results))
    shutil.copytree(root / "before", root / "faulty")
    (faulty,) = (root / "faulty").glob("samples_*")
    faulty.write_text(json.dumps({"doc": HOSTILE, "metrics": [HOSTILE], HOSTILE: HOSTILE}))
    broken = {HOSTILE: {HOSTILE: HOSTILE}, KEY: 1, "keyed": {"api_key_env": "PLAIN"}}
    (root / "broken.yaml").write_text(yaml.safe_dump(broken))
    (root / "adapter").mkdir()
    (root / "adapter" / "adapter_config.json").write_text(json.dumps(HOSTILE))
    return root


@pytest.fixture
def project(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A project of the server, whose key has an innocent name; the working directory."""
    root = tmp_path / "project"
    shutil.copytree(kept, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (root / "config").mkdir()
    (root / ".env").write_text(f"PLAIN={KEY}\n")
    # A token of a known form may not stand in this file at all.
    open_words = HOSTILE.replace(TOKEN, "")
    entry = {
        "model_name": "m",
        "base_url": server.url,
        "context_window": 2048,
        "dataset": "bundled",
        "api_key_env": "PLAIN",
        "provider": open_words,
        "description": open_words,
    }
    adapter = {"adapter_of": "mine", "model_name": open_words, "description": open_words}
    routed = {"model_name": "a/b", "provider": "openrouter", "base_url": server.url}
    entries = {"mine": {**entry, "default": True}, "tuned": adapter, "routed": routed}
    (root / "config" / "models.yaml").write_text(yaml.safe_dump(entries))
    own = {
        "asked": {"questions": "asked.jsonl", "description": open_words, "note": open_words},
        "missing": {"questions": f"{open_words.encode('unicode_escape').decode()}.jsonl"},
        "unknown": {"task": "no_package/no_task", "group": open_words},
    }
    (root / "config" / "benchmarks.yaml").write_text(yaml.safe_dump(own))
    row = {"question": HOSTILE, "choices": [HOSTILE, "b"], "answer": "A", "group": open_words}
    (root / "asked.jsonl").write_text(json.dumps(row) + "\n")
    return root


MODEL = ("--model-id", "mine", "--dataset", "bundled")
CAPGATE: dict[str, list[tuple[str, ...]]] = {
    "init": [("init", "--ci", "gitlab")],
    "run": [
        ("run", "--model-id", HOSTILE),
        ("run", "--benchmark", HOSTILE),
        ("run", "--suite", HOSTILE),
        ("run", "--benchmark", "asked", "--benchmark", "missing", "--measure"),
    ],
    "list-models": [
        ("list-models",),
        ("list-models", "--json"),
        ("list-models", "--check"),
        ("list-models", "--provider", HOSTILE),
        ("list-models", "--models-file", "broken.yaml"),
    ],
    "list-benchmarks": [
        ("list-benchmarks",),
        ("list-benchmarks", "--json"),
        ("list-benchmarks", "--details", "--benchmark", "asked", "--benchmark", "missing"),
        ("list-benchmarks", "--details", "--benchmark", "unknown"),
        ("list-benchmarks", "--benchmark", HOSTILE),
    ],
    "questions": [
        ("questions", "export", "asked", "out"),
        ("questions", "export", "asked", "out", "--json"),
        ("questions", "export", "missing", "out"),
        ("questions", "export", HOSTILE, "out"),
    ],
    "doctor": [("doctor", *MODEL), ("doctor", *MODEL, "--json"), ("doctor", "--model-id", HOSTILE)],
    "open": [("open", "--port", HOSTILE), ("open", "--store", f"http://{HOSTILE}")],
    "report": [
        ("report", RUN),
        ("report", RUN, "--comment"),
        ("report", RUN, "--wandb", "--mlflow"),
        ("report", HOSTILE),
    ],
    "triage": [("triage", RUN), ("triage", RUN, "--json"), ("triage", RUN, "--target", HOSTILE)],
    "show": [("show", RUN, questions()[0].hash), ("show", RUN, HOSTILE)],
    "history": [("history",), ("history", "--json"), ("history", HOSTILE)],
    "decide": [
        ("decide", "rows.jsonl"),
        ("decide", "rows.jsonl", "--json"),
        ("decide", "several.jsonl"),
        ("decide", "several.jsonl", "--sequential"),
        ("decide", "several.jsonl", "--json"),
        ("decide", "before", "after"),
        ("decide", "before", "after", "--json"),
        ("decide", "before", "faulty"),
        ("decide", "before", "faulty", "--metric", HOSTILE),
        ("decide", "before", HOSTILE),
    ],
    "compare": [
        ("compare", RUN, OTHER),
        ("compare", RUN, OTHER, "--json"),
        ("compare", RUN, HOSTILE),
        ("compare", RUN, OTHER, "--benchmark", HOSTILE),
    ],
    "baseline": [
        ("baseline", "record", "mine", "--run", RUN),
        ("baseline", "diff", "mine", "--run", OTHER),
        ("baseline", "diff", "mine", "--run", OTHER, "--json"),
        ("baseline", "record", "mine", "--run", RUN, "--benchmark", HOSTILE),
        ("baseline", "lint"),
        ("baseline", "lint", "--json"),
    ],
    "store": [
        ("store", "merge", "rows.jsonl", "--into", "all.sqlite"),
        ("store", "merge", "reports/answers.sqlite", "--into", "all.sqlite"),
        ("store", "merge", HOSTILE.replace("\0", ""), "--into", "all.sqlite"),
    ],
    "worker": [
        ("worker", "--shard", "0/1", *MODEL, "--limit", "4"),
        ("worker", "--shard", "0/1", *MODEL, "--limit", "4", "--json"),
        ("worker", "--shard", HOSTILE, *MODEL),
        ("worker", "--shard", "0/1", "--model-id", HOSTILE),
    ],
    "rescore": [
        ("rescore", OTHER),
        ("rescore", OTHER, "--json"),
        ("rescore", OTHER, "--benchmark", HOSTILE),
    ],
    "calibrate": [
        ("calibrate", *MODEL, "--limit", "4", "--simulations", "2"),
        ("calibrate", *MODEL, "--limit", "4", "--simulations", "2", "--try-remedy", "--json"),
    ],
    "plan": [("plan", *MODEL), ("plan", *MODEL, "--json"), ("plan", "--model-id", HOSTILE)],
    "sweep": [
        ("sweep", *MODEL, "--adapters", "adapter*", "--benchmark", "asked"),
        ("sweep", *MODEL, "--adapters", "adapter*", "--benchmark", "asked", "--json"),
        ("sweep", *MODEL, "--adapters", HOSTILE, f"{HOSTILE}*"),
        ("sweep", "--model-id", HOSTILE, "--adapters", HOSTILE),
    ],
    "parity": [("parity", "--model-id", "mine", "--adapter-name", HOSTILE, "--merged", "mine")],
}
INFERENCE_SERVER = [
    ("list",),
    ("list", "--json"),
    ("health",),
    ("load-adapter", "mine", "--path", "adapter"),
    ("load-adapter", HOSTILE, "--path", "/adapter"),
    ("unload-adapter", HOSTILE),
    ("start", HOSTILE),
    ("stop", HOSTILE),
    ("health", "--models-file", "broken.yaml"),
]
WAYS = [
    *((cli.main, words) for name in cli.COMMANDS for words in CAPGATE[name]),
    *((inference_server.main, words) for words in INFERENCE_SERVER),
    (openrouter, ("--list-models", "--check")),
    (openrouter, ("--model-id", HOSTILE)),
]


def named(one: Any) -> str:  # noqa: ANN401
    """What stands for a way in a test's name."""
    words = one if isinstance(one, tuple) else (one.__module__.split(".")[-1],)
    return " ".join("HOSTILE" if word == HOSTILE else word for word in words)


def all_texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Every text of a plain value."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from (str(key), *all_texts(one))
    elif isinstance(value, list):
        for one in value:
            yield from all_texts(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("main", "words"), WAYS, ids=named)
def test_no_command_shows_secrets_or_acts(
    capfd: pytest.CaptureFixture[str],
    main: Callable[[list[str]], int],
    words: tuple[str, ...],
) -> None:
    """Names, refusals, answers, questions and files of others, in text and in JSON."""
    if main is inference_server.main and words[:2] == ("health", "--models-file"):
        words = ("--models-file", "broken.yaml", "health")
    if words[:2] == ("baseline", "diff"):
        main(["baseline", "record", "mine", "--run", RUN])
        capfd.readouterr()
    with suppress(SystemExit):
        main(list(words))
    out, err = capfd.readouterr()
    assert out or err
    for text in (out, err):
        assert_harmless(text)
    assert "Traceback" not in err
    if "--json" in words and out:
        # JSON may say what was said, as a program reads it, but no secret.
        parts = out.splitlines() if words[0] in {"history", "triage"} else [out]
        texts = [text for part in parts for text in all_texts(json.loads(part))]
        assert texts or words[:2] == ("baseline", "lint")
        assert not [text for text in texts if KEY in text or TOKEN in text]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("words", [("list",), ("health",), ("load-adapter", "a", "--path", "/x")])
def test_no_refusal_s_echo_is_shown(
    server: Server, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """A server that repeats the Authorization header in what it refuses."""
    said = f"no: Authorization: Bearer {KEY} {HOSTILE}"
    server.models_reply = server.other_reply = Reply(401, {"error": {"message": said}})
    assert inference_server.main(list(words)) == 1
    _, err = capfd.readouterr()
    assert "no: Authorization: Bearer" in err
    assert_harmless(err)


def test_all_that_is_written_is_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """Each way of `Output`; the JSON of numbers that JSON lacks can be read."""
    out = Output(lambda: Redactor([KEY]))
    out.line(HOSTILE)
    out.lines([HOSTILE, HOSTILE])
    out.error(HOSTILE)
    out.hide("another-secret")
    out.line("another-secret")
    for text in capsys.readouterr():
        assert_harmless(text)
        assert "another-secret" not in text
    out.json({HOSTILE: [HOSTILE, float("nan"), float("inf")]}, indent=2)
    written = capsys.readouterr().out
    assert_harmless(written)
    (values,) = json.load(io.StringIO(written)).values()
    assert values[1:] == [None, None]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("a\n \t::x", "a\n \t\\x3a:x"),
        ("\u2003::x", "\u2003\\x3a:x"),
        ("a::b", "a::b"),
        (": :x", ": :x"),
        ("###[x", r"#\x23#[x"),
        ("##VSO[x", r"\x23#VSO[x"),
        ("## heading", "## heading"),
    ],
)
def test_commands_of_ci_services(text: str, shown: str) -> None:
    """Each is shown so that it can be read and does nothing."""
    assert harmless(text) == shown
    assert harmless(shown) == shown
