"""An offline cache of the hub with a few invented questions for each benchmark that capgate ships.

inspect_evals' own, unmodified tasks load from it, with `HF_HUB_OFFLINE=1` and `HF_HOME` set before
anything is imported. The rows have the columns that the hub's data sets have; nothing of their
texts is taken from there.

    python -m tests.doubles.hub_cache some/hf-home --questions 8
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perf.offline_cache import MMLU, mmlu_features, prepare

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]

LANGUAGES: Final = ("DE_DE", "FR_FR")
"""Languages of MMMLU in the cache."""

FEW_SHOT: Final = 12
"""Rows of a split from which examples are taken: GSM8K's task shows 10."""

MISSING: Final = {
    "mgsm": "its files must have the SHA-256 that upstream names, so invented ones are refused",
    "gpqa_diamond": "its file must have the SHA-256 that upstream names, so an invented one is "
    "refused",
}
"""Benchmarks that no invented rows can stand for, and why."""


def solved(prompt: str) -> str:
    """The right answer to a task's prompt for one of the questions below; `""` for other texts."""
    if found := re.findall(r"counts (\d+) stones and then (\d+) more", prompt):
        return f"ANSWER: {sum(map(int, found[-1]))}"
    if found := re.findall(r"\) Case \d+ is (.+)\?$", prompt):
        return f"ANSWER: {found[-1]}"
    if found := re.findall(r"^Write about stones in at least (\d+) words", prompt):
        return "stone " * int(found[-1])
    sevens = (r"number is 7 above (\d+)\?", r"counts to (\d+)\. Seven", r"(\d+) \+ 7\?")
    if found := [number for form in sevens for number in re.findall(form, prompt)]:
        return _letter_of(prompt, str(int(found[-1]) + 7))
    if re.search(r"What happens to the number \d+ when nobody looks", prompt):
        return _letter_of(prompt, r"It stays \d+")
    if found := re.findall(r"but into the box, since .* is (larger|smaller)", prompt):
        return f"ANSWER: {'A' if found[-1] == 'larger' else 'B'}"
    return ""


def _letter_of(prompt: str, choice: str) -> str:
    """The letter that a prompt gives to a choice."""
    letters = re.findall(rf"^([A-J])\) {choice}$", prompt, re.MULTILINE)
    return f"ANSWER: {letters[-1]}" if letters else ""


def add(left: int, right: int) -> str:
    """A text that asks for a sum."""
    return f"Mia counts {left} stones and then {right} more. How many are that?"


def four(number: int) -> tuple[list[str], int]:
    """Four different choices and the place of the right one, which is `number + 7`."""
    place = number % 4
    return [str(number + 7 + (at - place) * 3) for at in range(4)], place


def hellaswag(number: int) -> Row:
    """A row of HellaSwag."""
    endings, place = four(number)
    return {
        "ind": number,
        "activity_label": "Counting",
        "ctx": f"A child counts to {number}. Seven numbers later, the child says",
        "endings": endings,
        "source_id": f"invented~{number}",
        "label": str(place),
    }


def gsm8k(number: int) -> Row:
    """A row of GSM8K."""
    reason = f"{number} and 7 more are <<{number}+7={number + 7}>>{number + 7}."
    return {"question": add(number, 7), "answer": f"{reason}\n#### {number + 7}"}


def arc(number: int) -> Row:
    """A row of ARC; some rows have digits for labels, as the hub's have."""
    texts, place = four(number)
    labels = "1234" if number % 5 == 0 else "ABCD"
    return {
        "id": f"Invented_{number}",
        "question": f"Which number is 7 above {number}?",
        "choices": {"text": texts, "label": list(labels)},
        "answerKey": labels[place],
    }


def winogrande(number: int) -> Row:
    """A row of WinoGrande."""
    names = ("the box", "the bag")
    return {
        "sentence": f"{number} stones did not fit into the bag but into the box, since _ is "
        f"{'larger' if number % 2 else 'smaller'}.",
        "option1": names[0],
        "option2": names[1],
        "answer": "1" if number % 2 else "2",
    }


def truthfulqa(number: int) -> Row:
    """A row of TruthfulQA's multiple choice; its first choice is the true one, as on the hub."""
    wrong = [f"It becomes {number + other}" for other in range(1, 2 + number % 4)]
    return {
        "question": f"What happens to the number {number} when nobody looks at it?",
        "mc1_targets": {
            "choices": [f"It stays {number}", *wrong],
            "labels": [1, *[0 for _ in wrong]],
        },
        "mc2_targets": {
            "choices": [f"It stays {number}", "It does not change", *wrong],
            "labels": [1, 1, *[0 for _ in wrong]],
        },
    }


def mmlu_pro(number: int) -> Row:
    """A row of MMLU-Pro, with ten choices."""
    place = number % 10
    return {
        "question_id": number,
        "question": f"Which number is 7 above {number}?",
        "options": [str(number + 7 + at - place) for at in range(10)],
        "answer": "ABCDEFGHIJ"[place],
        "answer_index": place,
        "cot_content": f"A: Let's think step by step. The answer is ({'ABCDEFGHIJ'[place]}).",
        "category": ("math", "Physics")[number % 2],
        "src": "invented",
    }


def boolq(number: int) -> Row:
    """A row of BoolQ."""
    return {
        "question": f"is {number} an even number",
        "passage": f"A number is even if it is twice a whole number. {number} is a number.",
        "answer": number % 2 == 0,
    }


def commonsense_qa(number: int) -> Row:
    """A row of CommonsenseQA, with five choices."""
    place = number % 5
    return {
        "id": f"{number:032x}",
        "question": f"Which number is 7 above {number}?",
        "question_concept": "number",
        "choices": {
            "label": list("ABCDE"),
            "text": [str(number + 7 + at - place) for at in range(5)],
        },
        "answerKey": "ABCDE"[place],
    }


def mmlu(number: int) -> Row:
    """A row of MMLU; the subjects take turns."""
    from capgate.benchmarks.mmlu.subjects import SUBJECTS

    choices, place = four(number)
    return {
        "question": f"Which number is 7 above {number}?",
        "subject": SUBJECTS[number % len(SUBJECTS)],
        "choices": choices,
        "answer": place,
    }


def mmmlu(language: str) -> Callable[[int], Row]:
    """What makes a row of MMMLU in a language."""

    def row(number: int) -> Row:
        choices, place = four(number)
        return {
            "Unnamed: 0": number,
            "Question": f"[{language}] {number} + 7?",
            **dict(zip("ABCD", choices, strict=True)),
            "Answer": "ABCD"[place],
            "Subject": mmlu(number)["subject"],
        }

    return row


def ifeval(number: int) -> Row:
    """A row of IFEval: every row has all keys, most of them None, as on the hub."""
    words = 5 + number
    none: Row = {"num_words": None, "relation": None, "keywords": None}
    return {
        "key": 1000 + number,
        "prompt": f"Write about stones in at least {words} words, without any comma.",
        "instruction_id_list": ["length_constraints:number_words", "punctuation:no_comma"],
        "kwargs": [none | {"num_words": words, "relation": "at least"}, none],
    }


def bbh_choice(subset: str) -> Callable[[int], Row]:
    """What makes a row of one of BBH's multiple-choice subsets."""

    def row(number: int) -> Row:
        texts, place = four(number)
        return {
            "question": f"({subset}) Which number is 7 above {number}?",
            "choices": {"label": [f"({letter})" for letter in "ABCD"], "text": texts},
            "target": "ABCD"[place],
        }

    return row


def bbh_text(subset: str, targets: tuple[str, ...]) -> Callable[[int], Row]:
    """What makes a row of one of BBH's other subsets."""

    def row(number: int) -> Row:
        target = targets[number % len(targets)]
        return {"question": f"({subset}) Case {number} is {target}?", "target": target}

    return row


def tables(questions: int) -> Iterator[tuple[str, str, Mapping[str, datasets.Dataset], Row]]:
    """Each configuration: repository, revision, splits, and further arguments of `prepare`.

    Args:
        questions: Questions of a benchmark; of each of BBH's subsets a twentieth, or 8.
    """
    import datasets

    def rows(make: Callable[[int], Row], count: int, begin: int = 0) -> datasets.Dataset:
        return datasets.Dataset.from_list([make(at) for at in range(begin, begin + count)])

    shown = 1_000_000  # Examples are none of the questions.

    mmlu_rows = [mmlu(at) for at in range(max(questions, 57))]
    examples = [mmlu(shown + at) for at in range(5 * 57)]
    splits = {"test": mmlu_rows, "validation": examples[:57], "dev": examples}
    yield (
        MMLU,
        _constant("mmlu", "MMLU_REVISION"),
        {
            split: datasets.Dataset.from_list(some, features=mmlu_features())
            for split, some in splits.items()
        },
        {"config": "all"},
    )
    for language in LANGUAGES:
        splits_of = {"test": rows(mmmlu(language), questions)}
        yield "openai/MMMLU", _constant("mmlu", "MMMLU_REVISION"), splits_of, {"config": language}
    yield (
        "Rowan/hellaswag",
        _constant("hellaswag", "HELLASWAG_DATASET_REVISION"),
        {"validation": rows(hellaswag, questions)},
        {},
    )
    yield (
        "openai/gsm8k",
        _constant("gsm8k", "GSM8K_DATASET_REVISION"),
        {"train": rows(gsm8k, FEW_SHOT, shown), "test": rows(gsm8k, questions)},
        {"data_dir": "main"},
    )
    for config in ("ARC-Easy", "ARC-Challenge"):
        splits_of = {"test": rows(arc, questions)}
        yield (
            "allenai/ai2_arc",
            _constant("arc", "ARC_DATASET_REVISION"),
            splits_of,
            {"config": config},
        )
    yield (
        "allenai/winogrande",
        _constant("winogrande", "WINOGRANDE_DATASET_REVISION"),
        {"train": rows(winogrande, FEW_SHOT, shown), "validation": rows(winogrande, questions)},
        {"config": "winogrande_xl"},
    )
    yield (
        "truthfulqa/truthful_qa",
        _constant("truthfulqa", "TRUTHFULQA_DATASET_REVISION"),
        {"validation": rows(truthfulqa, questions)},
        {"config": "multiple_choice"},
    )
    yield (
        "TIGER-Lab/MMLU-Pro",
        _constant("mmlu_pro", "MMLU_PRO_DATASET_REVISION"),
        {"test": rows(mmlu_pro, questions), "validation": rows(mmlu_pro, FEW_SHOT, shown)},
        {},
    )
    yield (
        "google/boolq",
        _constant("boolq", "BOOLQ_DATASET_REVISION"),
        {"validation": rows(boolq, questions)},
        {},
    )
    yield (
        "tau/commonsense_qa",
        _constant("commonsense_qa", "COMMONSENSE_QA_DATASET_REVISION"),
        {"validation": rows(commonsense_qa, questions)},
        {},
    )
    yield (
        "google/IFEval",
        _constant("ifeval", "IFEVAL_DATASET_REVISION"),
        {"train": rows(ifeval, questions)},
        {},
    )
    yield from _bbh(rows, max(8, questions // 20))


def _bbh(
    rows: Callable[[Callable[[int], Row], int], datasets.Dataset], questions: int
) -> Iterator[tuple[str, str, Mapping[str, datasets.Dataset], Row]]:
    repository = _constant("bbh", "DATASET_PATH")
    revision = _constant("bbh", "BBH_DATASET_REVISION")
    subsets = _constant("bbh", "BBHDatasetRegistry")
    makers = {name: bbh_choice(name) for name in subsets.MULTIPLE_CHOICE_SUBSETS}
    for name, yes, no in subsets.BINARY_CHOICE_SUBSETS:
        makers[name] = bbh_text(name, (yes, no))
    for name, kind in subsets.EXACT_MATCH_SUBSETS:
        makers[name] = bbh_text(name, ("apple pear",) if kind == "words" else ("7", "12", "40"))
    for name in subsets.DYCK_SUBSET:
        makers[name] = bbh_text(name, ("] )", "> }"))
    names = list(makers)

    def prompt(at: int) -> Row:
        return {
            "dataset_name": names[at],
            "answer_only_prompt": f"Solve tasks like {names[at]}.\n\nQ: 1?\nA: 1",
            "chain_of_thought_prompt": f"Think about {names[at]}.",
        }

    for name, make in makers.items():
        # Upstream's task drops two of this subset's questions by their numbers.
        count = max(questions, 146) if name == "ruin_names" else questions
        splits = {name: rows(make, count)}
        yield repository, revision, splits, {"config": name}
    prompts = {"few_shot_prompts": rows(prompt, len(names))}
    config = {"config": "few_shot_prompts"}
    yield repository, revision, prompts, config


def _constant(task: str, name: str) -> Any:  # noqa: ANN401 (what upstream has)
    # The package of a task has a function where `from … import` would look for the module.
    return getattr(importlib.import_module(f"inspect_evals.{task}.{task}"), name)


def build(hf_home: Path, questions: int) -> None:
    """Builds the cache.

    Args:
        hf_home: What `HF_HOME` will name.
        questions: Questions of a benchmark; of each of BBH's subsets a twentieth, or 8; of MMLU
            one a subject at least.
    """
    import datasets

    datasets.disable_progress_bars()
    for repository, revision, splits, more in tables(questions):
        prepare(hf_home, repository, revision, splits, **more)


def main() -> None:
    """Builds the cache that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hf_home", type=Path)
    parser.add_argument("--questions", type=int, default=8)
    options = parser.parse_args()
    build(options.hf_home, options.questions)


if __name__ == "__main__":
    main()
