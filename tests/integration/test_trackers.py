"""`capgate report --wandb` and `--mlflow`, with the real packages; W&B offline, MLflow everywhere.

`make test-trackers` installs the packages into folders that two variables name. Without these a
package is looked for where Python finds packages; where it is missing, its tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.doubles.server import Server
from tests.integration.conftest import REPOSITORY
from tests.unit.report.examples import flip, red_report

from capgate.report.data.history import FILE, add_run
from capgate.report.write import write_data

RUN: Final = "20260101T000000Z-0001"
SECRET: Final = "s3cret-words-that-a-model-has-repeated"
KEY: Final = "0123456789" * 4
SECONDS: Final = 240.0
"""How long a process may take on a slow machine."""

FOLDERS: Final = {"wandb": "CAPGATE_WANDB", "mlflow": "CAPGATE_MLFLOW"}
Told = tuple[int, str, str]
Send = Callable[..., Told]

_READ: Final = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient()
ids = [one.experiment_id for one in client.search_experiments()]
found = []
for run in client.search_runs(ids):
    of, at = run.info.run_id, sys.argv[1]
    files = sorted(one.path for one in client.list_artifacts(of, "capgate"))
    kept = {path: open(client.download_artifacts(of, path, at)).read() for path in files}
    about = {"name": run.info.run_name, "status": run.info.status, "files": kept, "id": of}
    about["experiment"] = client.get_experiment(run.info.experiment_id).name
    about["times"] = len(client.get_metric_history(of, "capgate/mmlu/drop"))
    found.append(about | {"metrics": run.data.metrics, "tags": run.data.tags})
print(json.dumps(found))
"""


def packages(*needed: str) -> str:
    """The PYTHONPATH with the packages; skips the test where one is missing."""
    folders = []
    for name in needed:
        folder = Path(os.environ.get(FOLDERS[name], "/nonexistent")).absolute()
        if (folder / name).is_dir():
            folders.append(str(folder))
        elif find_spec(name) is None:
            pytest.skip(f"the package {name} is not installed (make test-trackers)")
    return os.pathsep.join(folders)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one red run, in whose answers a secret of the environment stands."""
    root = tmp_path / "project"
    lost = [flip(at, text=f"{SECRET} ANSWER: B") for at in range(40)]
    report = red_report(lost, run=RUN)
    write_data(report, root / "reports" / RUN)
    add_run(root / "reports" / FILE, report)
    return root


@pytest.fixture
def send(project: Path, tmp_path: Path) -> Send:
    """Runs `capgate report latest` with options, variables and the packages that are named."""

    def run(*options: str, needs: tuple[str, ...], **variables: str) -> Told:
        ended = python("-m", "capgate.cli", "report", "latest", *options, needs=needs, **variables)
        assert "Traceback" not in ended[1] + ended[2]
        return ended

    def python(*words: str, needs: tuple[str, ...], **variables: str) -> Told:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WANDB_", "MLFLOW_", "GITHUB_", "CAPGATE_"))
        }
        environment |= {"HOME": str(tmp_path), "DEMO_SECRET": SECRET}
        environment |= {"WANDB_DATA_DIR": str(tmp_path / "data")}
        environment |= {"PYTHONPATH": packages(*needs)} | variables
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

    run.python = python  # type: ignore[attr-defined]
    return run


def tracked_runs(send: Send, tmp_path: Path, uri: str, **variables: str) -> list[dict[str, Any]]:
    """What MLflow has, read by its own client."""
    (tmp_path / "read").mkdir(exist_ok=True)
    code, out, err = send.python(  # type: ignore[attr-defined]
        *("-c", _READ, str(tmp_path / "read")),
        needs=("mlflow",),
        MLFLOW_TRACKING_URI=uri,
        MLFLOW_DISABLE_TELEMETRY="true",
        **variables,
    )
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
    return found


def offline_runs(project: Path) -> list[Path]:
    """The folders of W&B's offline runs, oldest first."""
    return sorted((project / "wandb").glob("offline-run-*"))


def all_files(*folders: Path) -> bytes:
    """The bytes of all files in some folders."""
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert found
    return b"".join(path.read_bytes() for path in found)


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """A server that notes whether anything arrives."""
    with Server() as running:
        yield running


@pytest.fixture
def closed() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server on this machine; its URL."""
    path, folder = packages("mlflow"), tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", "sqlite:///runs.db", "--workers", "1"]
    # Without what runs jobs beside it.
    alone = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    told = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, *command, "--artifacts-destination", str(folder / "artifacts")],
        cwd=folder,
        env={**os.environ, **alone, "PYTHONPATH": path},
        stdout=told,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        # It tries again, after ever longer waits, while nothing listens.
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
            assert client.get(f"{url}/health").is_success
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        told.close()


def test_wandb_offline(send: Send, project: Path, tmp_path: Path) -> None:
    """Numbers, verdict and table are in the offline run's folder, both files in its artifact."""
    code, out, _ = send("--wandb", needs=("wandb",), WANDB_MODE="offline")
    assert code == 0
    (folder,) = offline_runs(project)
    assert folder.name.endswith(RUN)
    assert f"written for W&B: {folder}" in out.replace("~", str(tmp_path))
    (record,) = folder.glob("*.wandb")
    words = record.read_bytes()
    for name in ("drop", "drop_low", "accuracy", "lost", "gained", "questions", "verdict"):
        assert f"capgate/mmlu/{name}".encode() in words
    assert b'"REGRESSION"' in words
    (file,) = (folder / "files" / "media" / "table").rglob("*.table.json")
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {(row["group"], row["lost"], row["verdict"]) for row in rows} >= {
        ("anatomy", 40, "lost"),
        ("virology", 0, "too few to tell"),
    }
    staged = all_files(tmp_path / "data")
    page = (project / "reports" / RUN / "report.html").read_bytes()
    assert page in staged
    assert b'"schema_version": 7' in staged


def test_wandb_offline_again(send: Send, project: Path) -> None:
    """A run that is reported twice has the same id, so that W&B has one run."""
    for _ in range(2):
        assert send("--wandb", needs=("wandb",), WANDB_MODE="offline")[0] == 0
    ids = {path.stem for folder in offline_runs(project) for path in folder.glob("*.wandb")}
    assert ids == {f"run-{RUN}"}


def test_offline_and_without_a_flag_nothing_is_sent(send: Send, elsewhere: Server) -> None:
    """Neither W&B's offline mode nor a report without a flag reaches the server that is set."""
    url = elsewhere.url.removesuffix("/v1")
    there = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "MLFLOW_TRACKING_URI": url}
    assert send("--wandb", needs=("wandb",), WANDB_MODE="offline", **there)[0] == 0
    assert send(needs=("wandb",), **there)[0] == 0
    assert elsewhere.asked == []


def test_wandb_gets_no_secret(send: Send, project: Path, tmp_path: Path) -> None:
    """Neither what an answer repeats nor W&B's own key, nor a line that was typed, is in a file."""
    assert SECRET in (project / "reports" / RUN / "report.json").read_text()
    code, out, err = send("--wandb", needs=("wandb",), WANDB_MODE="offline", WANDB_API_KEY=KEY)
    assert code == 0, err
    kept = all_files(project / "wandb", tmp_path / "data")
    for secret in (SECRET, KEY):
        assert secret.encode() not in kept
        assert secret not in out + err


def test_a_run_of_wandb_that_the_user_names(send: Send, project: Path) -> None:
    """WANDB_RUN_ID, as a training sets it, is the run that gets the report."""
    variables = {"WANDB_MODE": "offline", "WANDB_RUN_ID": "training-7"}
    assert send("--wandb", needs=("wandb",), **variables)[0] == 0
    (folder,) = offline_runs(project)
    assert folder.name.endswith("training-7")


def test_wandb_that_is_off(send: Send, project: Path) -> None:
    """WANDB_MODE=disabled sends nothing, and the line says so."""
    code, out, _ = send("--wandb", needs=("wandb",), WANDB_MODE="disabled")
    assert code == 0
    assert "NOT SENT to W&B" in out
    assert offline_runs(project) == []


def places(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The variables of one place that MLflow keeps runs in."""
    if kind == "server":
        return {"MLFLOW_TRACKING_URI": request.getfixturevalue("mlflow_server")}
    if kind == "database":
        return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/runs.db"}
    uri = (tmp_path / "mlruns").as_uri()
    return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"}


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_the_commands_of_the_page(
    kind: str, send: Send, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Docs show a command for each tracker, and it sends the report."""
    page = (REPOSITORY / "docs" / "reports.md").read_text(encoding="utf-8")
    (line,) = (one for one in page.splitlines() if one.endswith(f"report latest --{kind}"))
    *variables, _, _, _, option = shlex.split(line)
    given = dict(one.split("=", 1) for one in variables)
    if "MLFLOW_TRACKING_URI" in given:
        given = places("server", request, tmp_path)
    code, _, err = send(option, needs=(kind,), **given)
    assert code == 0, err


@pytest.mark.parametrize("kind", ["database", "folder", "server"])
def test_mlflow(
    kind: str, send: Send, project: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Numbers, verdict, table and both files are in one run, though it is reported twice."""
    there = places(kind, request, tmp_path)
    told = [send("--mlflow", needs=("mlflow",), **there) for _ in range(2)]
    assert [code for code, _, _ in told] == [0, 0], told
    (run,) = tracked_runs(send, tmp_path, there.pop("MLFLOW_TRACKING_URI"), **there)
    assert f"sent to MLflow: the run {run['id']}" in told[0][1]
    assert (run["experiment"], run["name"], run["status"]) == ("capgate", RUN, "FINISHED")
    metrics = {name.removeprefix("capgate/mmlu/"): one for name, one in run["metrics"].items()}
    assert metrics["drop"] == pytest.approx(0.4)
    assert metrics["drop_low"] < 0.4 < metrics["drop_high"]
    counts = {"lost": 40, "gained": 0, "questions": 100, "reference_accuracy": 1.0}
    assert metrics.items() >= {**counts, "accuracy": 0.6}.items()
    assert run["times"] == 1
    assert run["tags"]["capgate/verdict"] == "REGRESSION"
    assert run["tags"]["capgate/target"] == "mine"
    files = run["files"]
    assert files["capgate/report.html"] == (project / "reports" / RUN / "report.html").read_text()
    assert json.loads(files["capgate/report.json"])["run"] == RUN
    table = json.loads(files["capgate/groups.json"])
    assert [row[table["columns"].index("group")] for row in table["data"]] == [
        "anatomy",
        "virology",
    ]
    assert SECRET not in json.dumps(run)


def test_mlflow_by_dotenv(send: Send, project: Path, tmp_path: Path) -> None:
    """Where the project's `.env` names server and experiment, that is where the run is."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    words = f"MLFLOW_TRACKING_URI={uri}\nMLFLOW_EXPERIMENT_NAME=gate\n"
    (project / ".env").write_text(words)
    assert send("--mlflow", needs=("mlflow",))[0] == 0
    (run,) = tracked_runs(send, tmp_path, uri)
    assert run["experiment"] == "gate"


def test_a_run_of_mlflow_that_the_user_names(send: Send, tmp_path: Path) -> None:
    """MLFLOW_RUN_ID, as a training sets it, gets the report, and goes on as it was."""
    uri = f"sqlite:///{tmp_path}/runs.db"
    made = "from mlflow import MlflowClient as C; c = C()\n"
    made += "print(c.create_run(c.create_experiment('t'), run_name='training').info.run_id)"
    variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    _, out, _ = send.python("-c", made, needs=("mlflow",), **variables)  # type: ignore[attr-defined]
    theirs = out.split()[-1]
    assert send("--mlflow", needs=("mlflow",), MLFLOW_RUN_ID=theirs, **variables)[0] == 0
    (run,) = tracked_runs(send, tmp_path, uri)
    assert (run["id"], run["name"], run["status"]) == (theirs, "training", "RUNNING")
    assert run["metrics"]["capgate/mmlu/lost"] == 40


def faulty(ended: Told, project: Path, *words: str) -> None:
    """Makes sure that a fault is one paragraph with ERROR's code, and the report is there."""
    code, out, err = ended
    assert code == 11
    assert len(err.strip().splitlines()) == 1, err
    for one in words:
        assert re.search(one, err), err
    assert out.startswith("written: ")
    assert (project / "reports" / RUN / "report.html").is_file()


def test_wandb_without_a_key(send: Send, project: Path) -> None:
    """The paragraph has W&B's words, and the ways out."""
    ended = send("--wandb", needs=("wandb",), WANDB_MODE="online")
    faulty(ended, project, "W&B did not take the report", "API key", "WANDB_MODE=offline")


def test_wandb_that_is_away(send: Send, project: Path, closed: str) -> None:
    """A server that does not answer is told, and the key is not."""
    variables = {"WANDB_BASE_URL": closed, "WANDB_API_KEY": KEY, "WANDB_INIT_TIMEOUT": "3"}
    ended = send("--wandb", needs=("wandb",), WANDB_MODE="online", **variables)
    faulty(ended, project, "W&B did not take the report", "WANDB_BASE_URL")
    assert KEY not in ended[1] + ended[2]


def test_mlflow_that_is_away_and_wandb_that_is_there(
    send: Send, project: Path, closed: str
) -> None:
    """One tracker's fault does not keep the report from the other; its password is not shown."""
    uri = closed.replace("://", f"://me:{KEY}@")
    variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ended = send(
        "--wandb", "--mlflow", needs=("wandb", "mlflow"), WANDB_MODE="offline", **variables
    )
    faulty(ended, project, "MLflow did not take the report", "MLFLOW_TRACKING_URI")
    assert len(offline_runs(project)) == 1
    assert KEY not in ended[1] + ended[2]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_missing(send: Send, project: Path, name: str) -> None:
    """It is named with what installs it, though a folder has its name."""
    if find_spec(name) is not None:
        pytest.skip(f"{name} is installed beside capgate")
    (project / name).mkdir()
    faulty(send(f"--{name}", needs=()), project, rf"pip install 'capgate\[{name}\]'")
