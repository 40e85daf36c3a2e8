"""One candidate's way through a race, and when it is given up for its failures. Pure."""

from dataclasses import dataclass, field

FAILURE_LEAD = 5
"""A candidate is given up once so many more examples failed than did not.

Wald's sequential test of whether 2/3 or 1/3 of the examples fail (A. Wald, "Sequential tests of
statistical hypotheses", 1945): one in 2 ** 5 candidates of the latter kind is given up wrongly.
"""

ALL_FAILED = 3
"""Examples that all failed, and none that did not, after which a rung's decision gives up too."""


@dataclass(slots=True)
class Lane:
    """One candidate's way through a race."""

    length: int
    """Places there are for this candidate."""
    goal: int
    """Places that count in the end: all below this one."""
    missing: int
    """Scores of the running rung that are still to come."""
    failed_before: int = 0
    """Examples on which it failed before this race."""
    passed_before: int = 0
    """Examples that it met before this race without failing."""
    scores: dict[int, float] = field(default_factory=dict)
    """Place to score."""
    skipped: set[int] = field(default_factory=set)
    """Places that were given up: nothing is known of them, and they are no failures."""
    failures: set[int] = field(default_factory=set)
    """Places on which the program or the metric raised; they are among `scores`."""
    started: int = 0
    """Places handed out so far: all below this one."""
    total: float = 0.0
    """Sum of the running rung's scores in the order they came; decisions add them up anew."""
    end_of_failures: int | None = None
    """The place after the failure that gives it up, whatever is still to come; None without."""
    given_up: bool = False

    @property
    def end(self) -> int:
        """The place before which its scores count."""
        if self.given_up and self.end_of_failures is not None:
            return self.end_of_failures
        return self.goal

    def count_failures(self, end: int, max_errors: int | None) -> None:
        """Note at which of the places below `end` the candidate is given up, if at any.

        A score that is still to come counts as no failure: so the place can only move to an
        earlier one, and stays once all before it is known, in whatever order that comes.
        """
        if max_errors is None or not self.failures:
            return
        for n_here, place in enumerate(sorted(p for p in self.failures if p < end), 1):
            skipped = sum(other < place for other in self.skipped)
            n_failed = self.failed_before + n_here
            n_passed = self.passed_before + place + 1 - n_here - skipped
            if n_failed >= max_errors or n_failed - n_passed >= FAILURE_LEAD:
                self.end_of_failures = place + 1
                return

    @property
    def decided(self) -> bool:
        """Whether every score is there that the running rung's decision needs."""
        if not self.missing:
            return True
        return self.end_of_failures is not None and all(
            place in self.scores or place in self.skipped for place in range(self.end_of_failures)
        )

    @property
    def all_failed(self) -> bool:
        """Whether it failed on all that it ever met up to its goal, and met enough to say so."""
        met = sum(place < self.goal for place in self.scores)
        failed = sum(place < self.goal for place in self.failures)
        enough = min(ALL_FAILED, self.length)
        return not self.passed_before and failed == met and met + self.failed_before >= enough > 0
