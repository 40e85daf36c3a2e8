"""LM answers by content: found, kept, and asked for by one at a time."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy.lm15 import LM15Error

from opro_dspy.boundary.flights import Flight, Flights, Owner
from opro_dspy.boundary.hooks import Worth
from opro_dspy.boundary.payer import Payer
from opro_dspy.boundary.steps import CallResult, PreparedCall
from opro_dspy.cache import Store
from opro_dspy.fingerprints import (
    describe_attributes,
    describe_engine,
    describe_lm_class,
    describe_request,
    endpoint_of,
    fingerprint,
)
from opro_dspy.records import is_amount

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that was kept."""

    result: CallResult
    usage: dict[str, Any]
    """What the provider said that it took."""
    paid: tuple[str, str] | None = None
    """The run that paid for it, and its mark there; see `Payer`."""

    @property
    def worth(self) -> Worth:
        """What it took when it was paid for."""
        return Worth.of(self.usage, self.result.cost)

    def as_asked_now(self) -> CallResult:
        """Return the answer as if the LM gave it now."""
        return replace(self.result, usage=dict(self.usage), cache_hit=False)


class Answers:
    """Answers in a store.

    The key of an answer holds the LM's class (a user's with its code and attributes), model, engine
    and endpoint, and all of the request that has a part in the answer: messages, parameters,
    `rollout_id`. Keys, headers and timeouts are not in it. Synchronous and asynchronous calls share
    their answers.

    DSPy's own cache leaves endpoint and engine out of its keys. What it knows of an LM that has
    either may come from elsewhere, and is never taken (`is_ambiguous`).

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._flights = Flights(store.locks)
        self._lock = threading.Lock()
        self._engines: dict[int, tuple[Any, str]] = {}
        self._classes: dict[type, dict[str, Any]] = {}
        self.payer: Payer | None = None
        """The run that pays for what is kept, if it is written down."""

    def key(self, lm: dspy.LM, kind: type, call: PreparedCall) -> str:
        """Return the key of the answer to `call` by `lm`, which its user gave the class `kind`."""
        asked = (
            {"request": describe_request(call.request), "rollout": call.kwargs.get("rollout_id")}
            if call.request is not None
            else describe_request(call.legacy)
        )
        who = {
            **self._class(lm, kind),
            "model": lm.model,
            "model_type": lm.model_type,
            "engine": self._engine(lm),
            "endpoint": endpoint_of(lm, call.kwargs),
        }
        return "answer:" + fingerprint([FORMAT, who, asked])

    def find(self, key: str) -> Answer | None:
        """Return the answer that was kept under `key`, or None."""
        record = self._store.get(key)
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            return None
        found, paid = _restored(record.get("result")), record.get("paid")
        if found is None or not (isinstance(paid, list) and len(paid) == 2):
            return found
        return replace(found, paid=(str(paid[0]), str(paid[1])))

    def keep(self, key: str, result: CallResult, flight: Flight | None = None) -> str | None:
        """Keep `result` unless it would come back as something else.

        Args:
            key: Of the answer.
            result: The answer.
            flight: In which it was asked for; if another has asked since, the other's answer
                stays. None if that cannot be.

        Returns:
            The payer's mark, if there is one.
        """
        dumped = result.dump()
        try:
            record = json.loads(json.dumps(dumped, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            return None
        restored = _restored(record)
        exact = record == dumped and restored and restored.result.responses == result.responses
        if not exact or not (self._flights.holds(flight) or self.find(key) is None):
            return None
        kept = {"format": FORMAT, "result": record}
        if self.payer is None or result.cache_hit:
            self._store.put(key, kept)
            return None
        paid = self.payer.mark()
        self._store.put(key, {**kept, "paid": list(paid)})
        return paid[1]

    def owes(self, answer: Answer) -> bool:
        """Tell whether the run has paid for `answer` without counting it."""
        return self.payer is not None and self.payer.owes(answer.paid)

    def counts(self, answer: Answer) -> None:
        """Note that an answer that the run owed is given, and so counted."""
        if self.payer is not None and answer.paid is not None:
            self.payer.counts(answer.paid)

    def claim(self, key: str, owner: Owner | None) -> Flight | None:
        """Return a flight if nobody asks for `key` now; see `Flights`."""
        return self._flights.claim(key, owner)

    def under_way(self, key: str) -> Flight | None:
        """Return the flight of this process that asks for `key` now, if one does."""
        return self._flights.under_way(key)

    def land(self, flight: Flight) -> None:
        """Let others ask again."""
        self._flights.land(flight)

    def wait(self, seconds: float) -> None:
        """Wait until a request is over, at most so long."""
        self._flights.wait(seconds)

    def _class(self, lm: dspy.LM, kind: type) -> dict[str, Any]:
        """Return the class of an LM as it was when it was met first; of a user's, state, too."""
        with self._lock:
            if kind not in self._classes:
                self._classes[kind] = describe_lm_class(kind)
            told = self._classes[kind]
        return {**told, "attributes": describe_attributes(lm)} if "code" in told else told

    def _engine(self, lm: dspy.LM) -> str:
        """Return the fingerprint of an LM's engine as it was when it was met first."""
        with self._lock:
            if id(lm.engine) not in self._engines:
                self._engines[id(lm.engine)] = lm.engine, fingerprint(describe_engine(lm))
            return self._engines[id(lm.engine)][1]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Answers":
        return self

    def __reduce__(self) -> Any:
        return Answers, (self._store,)


def is_ambiguous(lm: dspy.LM, options: Mapping[str, Any]) -> bool:
    """Tell whether DSPy's cache may hold answers of others under the keys of `lm`."""
    return not isinstance(lm.engine, str) or endpoint_of(lm, options) is not None


def _restored(record: Any) -> Answer | None:
    try:
        worth = Worth.of(record["usage"], record["cost"])
        numbers = (worth.input_tokens, worth.output_tokens, 0 if worth.cost is None else worth.cost)
        if not (all(map(is_amount, numbers)) and _is_plausible(record["usage"])):
            return None
        return Answer(result=CallResult.load(record), usage=record["usage"])
    except (LM15Error, LookupError, TypeError, ValueError, AttributeError):
        return None


def _is_plausible(told: Any) -> bool:
    """Tell whether a usage is one that LMs tell: no number in it is out of this world."""
    if isinstance(told, (Mapping, list)):
        return all(map(_is_plausible, told.values() if isinstance(told, Mapping) else told))
    return not isinstance(told, (int, float)) or is_amount(told)
