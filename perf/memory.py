"""Whether memory stays flat: the runner and the store with ten thousand and a million questions.

    make bench-memory                                # about 20 minutes
    python perf/memory.py --questions 100000        # a tenth of them

Made-up questions are asked of a stand-in server without latency, in shards of a thousand, as a
worker asks them: the store is looked up for each shard, the runner asks what it lacks, each answer
is stored when it comes, each shard's log is written, and garbage is collected as rarely. Each size
is a process of its own.

Exit codes: 0, or 1 where the larger size needs more than 1.3 times the memory of the smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf.measuring import Command, Cost, cost_of, stand_in  # noqa: E402
from perf.tables import publish  # noqa: E402

if TYPE_CHECKING:
    from capgate.benchmarks.questions import Question

FEW: Final = 10_000
MANY: Final = 1_000_000
SHARD: Final = 1000
CONNECTIONS: Final = 64
SHARE: Final = 1.3
"""Of the smaller size's peak, the most that the larger one may need."""

_RUN: Final = "memory"


def made_up(count: int) -> Iterator[list[Question]]:
    """Shards of questions as long as MMLU's, each made when it is its turn."""
    from inspect_ai.dataset import Sample

    from capgate.benchmarks.questions import Question, question_hash

    for start in range(0, count, SHARD):
        shard = []
        for number in range(start, min(start + SHARD, count)):
            sample = Sample(
                id=f"made-up-{number}",
                input=f"Which of these numbers is {number} plus one? {'So it goes on. ' * 20}",
                choices=[str(number + step) for step in range(1, 5)],
                target="A",
                metadata={"subject": f"numbers-{start}"},
            )
            shard.append(Question(question_hash(sample), f"numbers-{start}", sample))
        yield shard


async def ask(url: str, count: int, folder: Path) -> None:
    """Asks so many questions and keeps the answers."""
    from capgate.asking.inspect_backend.direct_runner import DirectRunner
    from capgate.asking.outcome import Outcome, QuestionTask
    from capgate.asking.target_client import TargetClient
    from capgate.benchmarks.mmlu.task import mmlu_task
    from capgate.client.client import Client
    from capgate.client.limits import ClientLimits
    from capgate.common.garbage import collected_rarely
    from capgate.common.redact import Redactor
    from capgate.store.answer_store import Store

    logs = folder / "logs"
    logs.mkdir()
    task = mmlu_task("inspect_evals/mmlu_0_shot", 512)
    redactor = Redactor.of_environment()
    limits = ClientLimits(connections=CONNECTIONS)
    client = Client(url, target=_RUN, model="smollm2", limits=limits)
    target = TargetClient(_RUN, client, "smollm2", redactor=redactor)
    runner = DirectRunner(task, logs, temperature=0.0, log_format="json")
    gc.freeze()
    with collected_rarely(), Store(folder / "answers.sqlite", redactor) as store:
        store.start_run(_RUN, {})
        context = store.context(_RUN, task.prompt_hash, {})

        def keep(_: QuestionTask, outcome: Outcome) -> None:
            store.add(context, outcome.answer, run=_RUN, target=_RUN)

        async def one(shard: list[Question], room: asyncio.Event) -> None:
            store.keep_questions(shard)
            found = store.find(context, [question.hash for question in shard], run=_RUN)
            missing = [question for question in shard if question.hash not in found]
            asked = QuestionTask(shard[0].subject, missing, target, target=_RUN, look="first")
            await runner.ask([asked], keep, room.set)

        async with client, asyncio.TaskGroup() as group:
            for shard in made_up(count):
                room = asyncio.Event()
                group.create_task(one(shard, room))
                await room.wait()
        kept = store.asked_since(context, _RUN)
    if kept != count:
        raise SystemExit(f"{kept} of {count} answers are in the store")


def main() -> int:
    """Measures both sizes, prints the table, and says whether memory stays flat."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=MANY, help="of the larger size")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--ask", nargs=2, metavar=("URL", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        asyncio.run(ask(options.ask[0], int(options.ask[1]), Path.cwd()))
        return 0
    few, many = (_measured(count) for count in (FEW, options.questions))
    share = many.memory / few.memory
    rows = [
        f"| {cost.questions:,} | {cost.memory:.0f} | {cost.wall:.0f} "
        f"| {1000 * cost.cpu / cost.questions:.2f} |"
        for cost in (few, many)
    ]
    head = "| questions | peak MiB | wall, s | CPU ms a question |\n|---|---|---|---|"
    verdict = "reached" if share <= SHARE else "**missed**"
    text = "\n".join(
        [head, *rows, "", f"Peak: {share:.2f} times as much, {SHARE:g} at most: {verdict}."]
    )
    print(text)
    if options.write:
        publish("memory", text)
    return int(share > SHARE)


def _measured(count: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name, stand_in(0.0) as url:
        arguments = [sys.executable, str(Path(__file__).resolve()), "--ask", url, str(count)]
        cost = cost_of(Command(f"{count:,} questions", arguments, Path(name), count))
    print(f"{count:,} questions: {cost.memory:.0f} MiB, {cost.wall:.0f} s", file=sys.stderr)
    return cost


if __name__ == "__main__":
    sys.exit(main())
