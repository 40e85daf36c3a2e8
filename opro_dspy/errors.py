"""Every error that this package raises on purpose. Imports nothing of ours."""


class OproError(Exception):
    """Base class of all errors of opro_dspy."""


class ConfigurationError(OproError, ValueError):
    """A setting or an input is wrong: raised before the first paid call.

    A seat of your own (selector, schedule, …) that returns something wrong is found out later.
    """


class UnknownArgumentError(OproError, TypeError):
    """An argument that no parameter takes; the message names the nearest one."""


class InvalidSolution(OproError, ValueError):
    """A text is no solution of a problem.

    The message is what such answers are counted by: keep it short, and the same for the same kind.
    """


class TellError(OproError, ValueError):
    """`Optimizer.tell` was given evaluations that do not answer the last `ask`."""


class RunError(OproError, RuntimeError):
    """A run had to stop.

    Attributes:
        result: What was paid for up to that point, an `OPROResult`.
        program: The best program so far, by the training estimate; None before one was scored.
        what: What happened, without what was kept and how to go on; empty if that was not added.
    """

    result: object | None = None
    program: object | None = None
    what: str = ""


class MetricError(RunError, TypeError):
    """The metric returned something that is not a number; names metric and example."""


class LMCallError(RunError):
    """The optimizer LM or a scorer LM failed (auth, connection, rate limit, …) or hangs for good.

    Never counted as a bad candidate: the run stops and the error carries what it had found.
    """


class UnknownPriceError(RunError):
    """An LM whose price is not known answered in a run with `max_cost`; names it.

    One that could not be seen before: the program, the metric or an LM asks it by itself.
    """


class ExecutorError(RunError):
    """The executor lost its workers or its scheduler, or they cannot run the program, or hang."""


class ProgramFailedError(RunError):
    """The program or the metric failed on `max_errors` examples, or on most: it is broken.

    `__cause__` is what was raised on the first one, with its traceback; None if they hang.
    """


class ResumeError(ConfigurationError):
    """A `log_dir` holds another run than the one that was called for, or cannot be read."""


class LogDirInUseError(OproError, BlockingIOError):
    """Another process, or another call in this one, runs in this `log_dir`; names it."""


class JournalError(RunError, OSError):
    """The journal cannot be written (full disk, …); every line before is intact."""
