"""Who pays for answers that are kept: so that a run that was killed knows what it has paid for."""

import secrets
import threading
from collections.abc import Iterable
from itertools import count


class Payer:
    """Marks the answers that a run pays for, and knows those that none of its lines tells of.

    An answer is kept at once, and its usage stands in the journal with the example that it was
    for, some moments later. A run that was killed in between finds the answer when it goes on,
    but has not counted it: such an answer is owed, and counts when it is given, as if it were paid
    for then. So usage and caps tell the truth, and the run is that of no kill.

    Args:
        run: The run's name; no other one has it.
        counted: The marks that stand in its journal.
    """

    def __init__(self, run: str, counted: Iterable[str]) -> None:
        self._run, self._counted = run, set(counted)
        self._session, self._numbers = secrets.token_hex(4), count(1)
        self._lock = threading.Lock()

    def mark(self) -> tuple[str, str]:
        """Return the run and a new mark for an answer that it pays for now."""
        with self._lock:
            mark = f"{self._session}.{next(self._numbers)}"
            self._counted.add(mark)
        return self._run, mark

    def owes(self, paid: tuple[str, str] | None) -> bool:
        """Tell whether an answer was paid for by the run and is not counted."""
        return paid is not None and paid[0] == self._run and paid[1] not in self._counted

    def counts(self, paid: tuple[str, str]) -> None:
        """Note that an answer is counted from now on: it is given, as if paid for now."""
        with self._lock:
            self._counted.add(paid[1])
