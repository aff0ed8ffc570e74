"""Every failure a user can meet, each with one sentence that says what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command but check-pools (DESIGN.md, section 6)."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNKNOWN = 3
    NO_PERMISSION = 77


class BillingError(Exception):
    """A failure with a message meant for the person at the terminal."""

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep the sentence that says what is wrong and the one that says what to do next."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Join both sentences for one line of output."""
        return f"{self.message} {self.hint}".strip()


class Refused(BillingError):
    """A rule of the ledger says no; nothing was written."""


class NotFound(Refused):
    """The thing named does not exist."""


class Conflict(Refused):
    """The same key or name already stands for something else."""


class InvalidInput(BillingError):
    """A value is not of the form asked for; nothing was written."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, hint: str = "", *, field: str = "") -> None:
        """Name the field at fault, so that a form can mark it."""
        super().__init__(message, hint)
        self.field = field


class Unavailable(BillingError):
    """The answer cannot be known: database, schema or configuration stand in the way."""

    exit_code = ExitCode.UNKNOWN


class Replaced(Unavailable):
    """Another database stands where the open one stood: it has to be opened again."""


class Uncertain(Unavailable):
    """The change may have been made or not; to repeat it makes it once."""


class NotPermitted(BillingError):
    """This person, or this mode, may not do that."""

    exit_code = ExitCode.NO_PERMISSION
