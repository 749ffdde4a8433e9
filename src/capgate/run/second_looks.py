"""`--confirm`: groups and parents of groups that lost are asked a second time before they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from capgate.asking.ready_target import QuestionBatch
from capgate.gate.two_looks import confirm_subject, confirm_suite, second_look
from capgate.gate.verdict import Verdict
from capgate.run.answered import Results, answers_of, no_answer
from capgate.run.asker import Asker
from capgate.run.reference import judge_again, judge_one, rows
from capgate.run.target_plan import TargetPlan


@dataclass(frozen=True)
class SecondLooks:
    """The second looks at one target.

    Attributes:
        plan: The target's plan.
        asker: Has its questions answered.
        say: Shows a line of progress.
    """

    plan: TargetPlan
    asker: Asker
    say: Callable[[str], None]

    def at_subject(self, subject: str, first: Verdict) -> tuple[Verdict, Results]:
        """Asks a subject again that lost by its own test.

        Args:
            subject: The subject.
            first: The first look's verdict on it.

        Returns:
            The verdict of both looks, and what the second one was answered.
        """
        again = self._ask(subject)
        return confirm_subject(first, self._of_subject(subject, again, first)), again

    def at_suite(self, first: Verdict) -> tuple[Verdict, list[Results]]:
        """Asks again what the suite's test named.

        Args:
            first: The first look's verdict on the suite.

        Returns:
            The verdict of both looks, and what the second ones were answered.
        """
        chosen, parents = self.plan.selection.by_subject, self.plan.parents
        named = [one.name for one in first.failed_subjects]
        members = {
            one.name: [s for s in chosen if parents.get(s) == one.name and chosen[s]]
            for one in first.failed_domains
        }
        wanted = dict.fromkeys([*named, *(s for mine in members.values() for s in mine)])
        if not wanted:
            return first, []
        asked = {subject: self._ask(subject) for subject in wanted}
        seconds = {s: self._of_subject(s, asked[s], first) for s in named}
        domains = {
            name: self._of_domain(name, [asked[s] for s in mine], first)
            for name, mine in members.items()
        }
        return confirm_suite(first, seconds, domains), list(asked.values())

    def _ask(self, subject: str) -> Results:
        """Asks a subject again that lost, or whose domain did."""
        self.say(f"{self.plan.label}  {subject}  failed at first and is asked again")
        return self.asker.answer_again(
            QuestionBatch(subject, self.plan.selection.by_subject[subject])
        )

    def _of_subject(self, subject: str, again: Results, first: Verdict) -> Verdict:
        """What a second look alone says of a subject."""
        dead = no_answer([again])
        if dead is not None:
            return Verdict.of_error(dead, scope="subject", subject=subject)
        assert first.budget is not None
        reference = self.plan.reference
        second = judge_one(
            reference,
            rows(reference, answers_of([again]), self.plan.target),
            self.plan.policy,
            subject=subject,
            n_subjects=1,
            budget=second_look(first.budget),
        )
        assert second is not None
        return second

    def _of_domain(self, domain: str, again: Sequence[Results], first: Verdict) -> Verdict:
        """What a second look alone says of a domain."""
        dead = no_answer(again)
        if dead is not None:
            return Verdict.of_error(dead, scope="domain", subject=domain)
        assert first.budget is not None
        reference = self.plan.reference
        return judge_again(
            reference,
            rows(reference, answers_of(again), self.plan.target),
            self.plan.policy,
            domain=domain,
            budget=second_look(first.budget),
        )
