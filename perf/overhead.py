"""What the client costs: this suite and its peers, side by side, against one stand-in server.

    make bench                                    # all 14,042 questions; about 15 minutes
    python perf/overhead.py --questions 2000     # a smaller sample of them

Each contender asks the whole of MMLU (from the folder that --mmlu names) of one local server
that answers every question after 50 ms. Measured are wall time, CPU time of the contender's
processes a question (start-up included) and the memory of its largest process. The peers run
offline from one `datasets` cache. lm-evaluation-harness lives in a venv of its own
(`make bench` makes it), named by --lm-eval.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf.offline_cache import build, build_subjects  # noqa: E402

CONNECTIONS = 64
LATENCY = 0.05


@dataclass(frozen=True)
class Figure:
    """What one contender took.

    Attributes:
        name: The contender.
        questions: Questions that it asked.
        wall: Seconds from start to end.
        cpu: CPU seconds of all its processes.
        memory: Largest resident set of one of its processes, in MiB.
    """

    name: str
    questions: int
    wall: float
    cpu: float
    memory: float

    def row(self) -> str:
        """A line of the table."""
        return (
            f"| {self.name} | {self.questions:,} | {self.wall:.0f} | "
            f"{1000 * self.cpu / self.questions:.1f} | {self.memory:.0f} |"
        )


@contextmanager
def stand_in() -> Iterator[str]:
    """A server that answers each question after `LATENCY` seconds; yields its URL."""
    server = subprocess.Popen(
        [sys.executable, "-m", "perf.stand_in", "--latency", str(LATENCY)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def measure(
    name: str, command: list[str], env: dict[str, str], cwd: Path, questions: int, log: Path
) -> Figure:
    """Runs a contender and reads the operating system's accounting of it.

    Raises:
        SystemExit: It failed; with the end of its output.
    """
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        child = subprocess.Popen(
            command, env={**os.environ, **env}, cwd=cwd, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    if child.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        raise SystemExit(f"{name} failed with exit code {child.returncode}:\n{tail}")
    figure = Figure(name, questions, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    print(figure.row(), flush=True)
    return figure


def ours(
    folder: Path, url: str, mmlu: Path, questions: int, workers: int, log: Path
) -> list[Figure]:
    """This suite, every subject a test: from an empty store, and with all answers stored."""
    project = folder / f"ours-n{workers}"
    (project / "config").mkdir(parents=True)
    (project / "thresholds").mkdir()
    shutil.copytree(ROOT / "benchmarks", project / "benchmarks")
    (project / "config" / "models.yaml").write_text(
        f"stand-in: {{model_name: smollm2, base_url: {url}, context_window: 2048, "
        f"max_connections: {CONNECTIONS}, default: true}}\n",
        encoding="utf-8",
    )
    limit = [] if questions >= 14_042 else ["--limit", str(questions)]
    command = [sys.executable, "-m", "pytest", "benchmarks", "-m", "full", "--measure"]
    command += ["--dataset", str(mmlu), "-n", str(workers), "-q", *limit]
    asked = min(questions, 13_937)
    name = f"this suite, -n {workers}"
    first = measure(name, command, {}, project, asked, log)
    if workers:
        return [first]
    return [first, measure(f"{name}, all answers stored", command, {}, project, asked, log)]


def inspect(folder: Path, url: str, hf: Path, questions: int, log: Path) -> Figure:
    """`inspect eval` with its defaults, full logs kept."""
    limit = [] if questions >= 14_042 else ["--limit", str(questions)]
    command = [str(Path(sys.executable).with_name("inspect")), "eval", "inspect_evals/mmlu_0_shot"]
    command += ["--model", "openai-api/standin/smollm2", "--max-connections", str(CONNECTIONS)]
    command += ["--log-dir", str(folder / "inspect"), "--display", "none", *limit]
    env = {
        "STANDIN_BASE_URL": url,
        "STANDIN_API_KEY": "none",
        "HF_HOME": str(hf),
        "HF_HUB_OFFLINE": "1",
    }
    return measure("inspect eval", command, env, folder, min(questions, 13_937), log)


def lm_eval(python: Path, folder: Path, url: str, hf: Path, questions: int, log: Path) -> Figure:
    """lm-evaluation-harness over the same API, with as many connections."""
    per_subject = -(-questions // 57)
    limit = [] if questions >= 14_042 else ["--limit", str(per_subject)]
    command = [str(python), "-m", "lm_eval", "--model", "local-chat-completions"]
    command += ["--tasks", "mmlu_generative", "--apply_chat_template", "--log_samples"]
    command += ["--output_path", str(folder / "lm-eval"), *limit, "--model_args"]
    command += [
        f"model=smollm2,base_url={url}/chat/completions,num_concurrent={CONNECTIONS},"
        "max_retries=3,tokenized_requests=False"
    ]
    env = {"HF_HOME": str(hf), "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    asked = questions if questions >= 14_042 else per_subject * 57
    return measure("lm-evaluation-harness 0.4.13", command, env, folder, asked, log)


_BARE = """
import asyncio, json, sys
from openai import AsyncOpenAI

async def main(url, path, connections):
    client = AsyncOpenAI(base_url=url, api_key="none")
    gate = asyncio.Semaphore(connections)
    async def ask(text):
        async with gate:
            answer = await client.chat.completions.create(
                model="smollm2", messages=[{"role": "user", "content": text}], max_tokens=512,
                temperature=0)
            return answer.choices[0].message.content
    with open(path) as lines:
        prompts = [json.loads(line) for line in lines]
    await asyncio.gather(*map(ask, prompts))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def bare(folder: Path, url: str, mmlu: Path, questions: int, log: Path) -> Figure:
    """A plain loop over `AsyncOpenAI`: no harness at all."""
    prompts = folder / "prompts.jsonl"
    with (mmlu / "test.jsonl").open(encoding="utf-8") as rows, prompts.open("w") as out:
        for _, line in zip(range(questions), rows, strict=False):
            row = json.loads(line)
            choices = "\n".join(
                f"{letter}) {text}" for letter, text in zip("ABCD", row["choices"], strict=True)
            )
            out.write(json.dumps(f"{row['question']}\n\n{choices}") + "\n")
    program = folder / "bare.py"
    program.write_text(textwrap.dedent(_BARE), encoding="utf-8")
    command = [sys.executable, str(program), url, str(prompts), str(CONNECTIONS)]
    return measure("bare AsyncOpenAI", command, {}, folder, questions, log)


def cache(mmlu: Path, hf: Path) -> None:
    """The offline `datasets` cache that the peers read: `all` and each subject by itself."""
    build(mmlu, hf)
    build_subjects(hf)


def main() -> None:
    """Measures the contenders and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=14_042)
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    parser.add_argument("--lm-eval", type=Path, default=ROOT / ".venv-bench" / "bin" / "python")
    parser.add_argument("--output", type=Path, help="write the table here as well")
    parser.add_argument("--only", action="append", choices=["ours", "inspect", "lm-eval", "bare"])
    options = parser.parse_args()
    if not (options.mmlu / "test.jsonl").is_file():
        raise SystemExit(f"{options.mmlu} holds no MMLU; name its folder with --mmlu")
    n = options.questions
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
        folder = Path(name)
        hf = folder / "hf"
        cache(options.mmlu, hf)
        log = folder / "log"
        with stand_in() as url:
            contenders: dict[str, Callable[[], list[Figure]]] = {
                "bare": lambda: [bare(folder, url, options.mmlu, n, log)],
                "ours": lambda: [
                    figure
                    for workers in (0, 2)
                    for figure in ours(folder, url, options.mmlu, n, workers, log)
                ],
                "lm-eval": lambda: [lm_eval(options.lm_eval, folder, url, hf, n, log)],
                "inspect": lambda: [inspect(folder, url, hf, n, log)],
            }
            print(_HEAD, flush=True)
            figures = [
                figure
                for contender, run in contenders.items()
                if not options.only or contender in options.only
                for figure in run()
            ]
    if options.output:
        rows = "\n".join(figure.row() for figure in figures)
        options.output.write_text(f"{_HEAD}\n{rows}\n", encoding="utf-8")


_HEAD = "| contender | questions | wall, s | CPU ms a question | peak MiB |\n|---|---|---|---|---|"

if __name__ == "__main__":
    main()
