"""The words for subjects and domains in a report, also of one that an older version wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from capgate.benchmarks.recorded import nouns_of
from capgate.gate import stats
from capgate.gate.verdict import GROUP_KINDS, GroupWord
from capgate.report.data.result import Group, Result

_FAILS: Final = frozenset({"lost", "REGRESSION"})


def words_of(
    own: Mapping[str, Mapping[str, Any] | None],
    domains: Iterable[str],
    verdict: Mapping[str, Any] | None,
    parents: Mapping[str, str],
) -> dict[str, str | None]:
    """Returns the word for each subject and domain; None where it was not judged.

    A group is `lost` where the suite's test or its own says so; else its own test's word counts,
    then the suite's. The suite tests no domain of which the run has one subject only: such a
    domain has that subject's word.

    Args:
        own: Subject to the verdict of its own test; None where it had none.
        domains: The domains of the run.
        verdict: The suite's; None where the target was not judged as a whole.
        parents: Subject to its domain.
    """
    suite = {one["subject"]: one["word"] for one in (verdict or {}).get("subjects", ())}
    suite |= {one["domain"]: one["word"] for one in (verdict or {}).get("domains", ())}
    words = {subject: _word(mine, suite.get(subject)) for subject, mine in own.items()}
    for domain in domains:
        parts = [words[subject] for subject in own if parents.get(subject) == domain]
        words[domain] = suite.get(domain) or (parts[0] if len(parts) == 1 else None)
    return words


def with_words(groups: Mapping[str, Group], words: Mapping[str, str | None]) -> dict[str, Group]:
    """Returns subjects or domains with the word for each."""
    return {name: one.model_copy(update={"word": words.get(name)}) for name, one in groups.items()}


def _word(own: Mapping[str, Any] | None, suite: str | None) -> str | None:
    if own is None or suite == "lost":
        return suite
    return str(own["kind"]) if own["kind"] in GROUP_KINDS else suite


def word_counts(words: Iterable[str | None]) -> str:
    """How many groups have each word, as `1 lost, 2 kept`; `""` where none has any."""
    counts = Counter(word for word in words if word)
    return ", ".join(f"{counts[word]} {word}" for word in GROUP_KINDS if counts[word])


def counted(result: Result) -> str:
    """How many of a target's groups have each word, as one line; `""` where none was judged."""
    nouns = nouns_of(result.benchmark)
    groups = result.subject_details if result.has_groups else {}
    parts = [
        f"{_number(len(ones), what)}: {said}"
        for what, ones in ((nouns.parent, result.domains), (nouns.group, groups))
        if (said := word_counts(one.word for one in ones.values()))
    ]
    return "; ".join(parts)


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def upgraded(verdict: Any) -> Any:  # noqa: ANN401 (a damaged report may hold anything)
    """Returns a verdict of schema 1 as one of schema 2, with the words that its counts allow.

    Schema 1 said PASS of a subject for want of evidence. Its counts tell whether a loss of `catch`
    was ruled out; against a floor the suite's findings do not, so there the word stays
    `too few to tell`. No domain was tested.
    """
    if not isinstance(verdict, dict) or verdict.get("schema") != 1:
        return verdict
    policy = verdict.get("policy") or {}
    kind = verdict["kind"]
    if verdict["scope"] == "subject" and kind in {"PASS", "REGRESSION"}:
        counts = verdict["counts"] or {}
        p = _p_catch(counts, policy, verdict.get("floor"))
        kind = _word_of(kind in _FAILS, p, policy)
    subjects = []
    for one in verdict["subjects"]:
        p = _p_catch(one, policy, None)
        word = _word_of(one["failed"], p, policy)
        subjects.append({**one, "p_catch": p, "word": word})
    budget = verdict["budget"] and {**verdict["budget"], "domains": 0.0}
    return {
        **verdict,
        "schema": 2,
        "kind": kind,
        "subjects": subjects,
        "domains": [],
        "budget": budget,
    }


def _word_of(failed: bool, p: float | None, policy: Mapping[str, Any]) -> GroupWord:
    if failed:
        return "lost"
    return "kept" if p is not None and p <= policy["miss"] else "too few to tell"


def _p_catch(
    counts: Mapping[str, Any], policy: Mapping[str, Any], floor: float | None
) -> float | None:
    """p-value of "`catch` was lost"; None where the counts do not tell."""
    n = counts.get("n")
    if not n or "catch" not in policy:
        return None
    if counts.get("losses") is not None:
        return stats.tango_p_below(counts["losses"], counts["gains"], n, policy["catch"])
    if floor is None or "correct" not in counts:
        return None
    return stats.binomial_above(counts["correct"], n, max(floor - policy["catch"], 0.0))
