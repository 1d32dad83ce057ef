"""What ends a process because of another one."""

FAILED, UNTOLD = 1, 70
"""The exit codes of an error that is no TruingError, or of a process that is gone; and of who leaves it to the launcher
to say which process is gone"""
GONE = "another process of this run is gone"


class PeerFailed(BaseException):
    """Another process met an error, which it tells itself, or is gone.

    No Exception, so that nobody takes it for one of their own.
    """

    def __init__(self, exit_code: int, untold: str | None = None) -> None:
        super().__init__()
        self.exit_code = exit_code
        self.untold = untold
        """What it falls to this process to say, since the other is gone; None where somebody else says it"""
