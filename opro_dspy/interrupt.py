"""Ctrl-C that ends a run in order: the first one is heard at a safe place, the second at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_PREVAILING: ContextVar["Interrupt | None"] = ContextVar("opro_dspy_interrupt", default=None)


class Interrupt:
    """Remembers that the user pressed Ctrl-C.

    KeyboardInterrupt may rise between any two bytecodes, also inside a lock or a destructor that
    swallows it. Within `listening()` the first SIGINT only sets `pressed`; whoever waits for calls
    looks at it. A second one goes to the handler that was there before.
    """

    def __init__(self) -> None:
        self.pressed = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over SIGINT for a while; does nothing outside the main thread."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def note(signum: int, frame: FrameType | None) -> None:
            if self.pressed:
                before(signum, frame)
            self.pressed = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @staticmethod
    def prevailing() -> "Interrupt":
        """Return the one that whoever started this run can press; a new one if nobody can."""
        return _PREVAILING.get() or Interrupt()

    def prevail(self) -> None:
        """Be the one of all runs in this context, so that `press` stops them."""
        _PREVAILING.set(self)

    def press(self) -> None:
        """Do what the first Ctrl-C does; from any thread."""
        self.pressed = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt
