"""What can go wrong, and the exit code by which a script tells one kind from another."""


class DfcbenchError(Exception):
    """Base of every error that a user can mend. Its text names the thing, the place and the next step."""

    exit_code = 1


class UsageError(DfcbenchError):
    """The command or call asks for something that does not exist or does not fit together."""

    exit_code = 2


class DataError(DfcbenchError):
    """The data on disk are missing, incomplete or not what the layout promises."""

    exit_code = 3


class UnwritableError(DataError):
    """The disk refuses: it is full, read-only, or something else lies where a file or folder shall be."""


class PluginError(DfcbenchError):
    """A method could not be found or loaded."""

    exit_code = 4


class ContractError(DfcbenchError):
    """A method returned something that its contract forbids."""

    exit_code = 5


class MethodCrash(DfcbenchError):
    """A method raised an exception of its own; the original is the cause."""

    exit_code = 6


class SubmissionError(DfcbenchError):
    """A submission folder cannot be read, is incomplete, or contradicts itself."""

    exit_code = 7


class HiddenError(DfcbenchError, AttributeError):
    """The track's rules hide what was asked for. An AttributeError, so that ``hasattr`` answers False."""

    exit_code = 5


class NotFittedError(DfcbenchError, AttributeError):
    """A method was asked for what fit learns before it was fitted. An AttributeError, so that ``hasattr`` answers False."""

    exit_code = 5
