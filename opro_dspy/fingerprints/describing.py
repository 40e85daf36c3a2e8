"""Any value as JSON that says what it is; never fails, and never says where it lies in memory."""

from collections.abc import Collection, Mapping
from typing import Any

import dspy

from opro_dspy.fingerprints import lms
from opro_dspy.fingerprints.walking import Walk


def describe(value: Any) -> Any:
    """Return `value` as JSON data; what is alike gives the same in every process.

    Functions and classes of the user's are told by their code, decorators included, and by what of
    their module that uses; those of installed packages and modules by name and version. Modules of
    the user's that are held, or imported as a function runs, are told by their files, and by what
    of them is otherwise in memory.

    Objects are told by `dump_state()` if they have it, dataclasses and pydantic models by their
    fields, arrays and tables by their data, all others by their class and their public attributes,
    with private ones that are named as an argument of their class. What of this changes as an
    object is used (a counter, a memo, a list that grows) makes it another; other private
    attributes are not told.

    It may hold what a program was given as a secret: show only its fingerprint.
    """
    return Walk().all_of(value)


def describe_metric(metric: Any) -> Any:
    """Return what a metric computes: its code, closure, helpers and constants. As `describe`."""
    return describe(metric)


def describe_program(
    program: dspy.Module, *, without_texts_of: Collection[dspy.Predict] = ()
) -> Any:
    """Return the structure of `program` as JSON data. As `describe`.

    That is the code of its modules' classes, their attributes, and of each predictor the fields,
    types and remarks of its signature, instructions, demos, config and own LM.

    Args:
        program: The program, without results that an optimizer hung on it.
        without_texts_of: Predictors whose instructions are left out: those that are optimized.
    """
    return Walk({id(predictor) for predictor in without_texts_of}).all_of(program)


def describe_example(example: dspy.Example) -> tuple[Any, bool]:
    """Return an example as JSON data, DSPy's notes (`dspy_uuid`) apart, and whether that is all.

    All its data count, private ones too: what an object holds is told as it would be pickled. Two
    examples are the same if their descriptions are, and these are all. What cannot be told is what
    cannot be pickled (a lock, an open file), is used up as one looks (an iterator), or is an LM.
    """
    walk = Walk(whole=True)
    return walk.all_of(example), walk.in_full


def describe_adapter(adapter: dspy.Adapter | None) -> Any:
    """Return class and state of an adapter as JSON data; None for the one that DSPy uses then."""
    told = describe(adapter)
    return None if told == describe(dspy.ChatAdapter()) else told


def describe_lm(lm: dspy.BaseLM) -> dict[str, Any]:
    """Return class, model, parameters, engine and endpoint of `lm` as JSON data.

    It holds no key, header or environment variable. A class of the user's is told by its code, too,
    and its LMs by their attributes; of both show only the fingerprint.

    An engine object is told by `dump_state()` if it has it, else by its class and by what it was
    given, whatever keeps it, and its other public attributes, without what may be counters, logs
    and memos; the same goes for LMs. See `books.lasting`. One of which that shows nothing is told
    from all others by a mark; see `without_marks`.
    """
    return lms.lm_parts(lm, describe)


def describe_engine(lm: dspy.LM) -> Any:
    """Return the name of the engine of `lm`, or its class and state; see `describe_lm`."""
    return lms.engine_parts(lm.engine, describe)


def describe_lm_class(kind: type) -> dict[str, Any]:
    """Return the name of an LM's class; if it is the user's own, also its code."""
    return lms.class_parts_of(kind, describe)


def describe_attributes(lm: dspy.BaseLM) -> Any:
    """Return what `lm`, of a class of the user's, holds beside what DSPy gave it."""
    return lms.own_attributes(lm, describe)


def describe_request(request: Any) -> Any:
    """Return what of a request has a part in its answer: no keys, headers or timeouts.

    Args:
        request: A `dspy.lm15.Request`, or messages and options by name.
    """
    if isinstance(request, Mapping):
        return lms.request_parts(request, describe)
    return describe(request)
