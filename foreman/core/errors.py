"""Every error foreman itself raises, in one tree.

    ForemanError
    ├── StartupError          the process cannot start; one line, exit status 1 (ConfigError: 2)
    │   ├── ConfigError       a setting is unknown, of the wrong type or unsafe
    │   └── StoreUnusable     the database is corrupt, too new, read-only or held by another foreman
    ├── RequestError          the caller's fault or the moment's; becomes an HTTP answer
    │   ├── ModelNotFound  InvalidModelName  BadRequest  BodyTooLarge  BodyStalled  BodyEncoded
    │   ├── HostRefused  OriginRefused  KeyRefused  NotAllowed
    │   ├── NothingHere  JobNotFound  JobFinished  IdempotencyConflict  OffsetBeyondEnd  TooMany
    │   └── QueueFull  Draining  StorageFull  StorageFailed
    ├── TargetError           what talking to the target can end in; the retry policy reads it
    │   ├── TargetUnreachable nothing was sent
    │   ├── TargetLost        sent, and the connection broke before the answer's head
    │   ├── TargetSilent      sent, and nothing came within the limit
    │   ├── TargetGarbled     the answer is not HTTP, or a redirect (TargetMoved)
    │   ├── TargetStatus      an answer to foreman's own question had another status than 200
    │   └── TargetCut         the answer broke off after its head
    ├── MaybeBilled           sent to a remote API, no whole answer came, and it is not sent again
    ├── JobCancelled          the job was cancelled while somebody read its answer
    ├── JobFailed             the job failed after its answer had begun, or before it could
    ├── NoRoom                a pull would fill the disk
    ├── NeverFits             the job's model can never be loaded on this machine
    ├── ReaderCut             a reader fell so far behind that its bytes were given up
    └── InternalError         foreman made a mistake, and has logged it

`code` is the stable word of an error: it stands in `X-Foreman-Error`, in the database and in the logs.
What status and shape an error has over HTTP is decided in one table, `web/errors.py`.
"""

from typing import ClassVar


class ForemanError(Exception):
    """Base of all; never raised itself. The message is one plain sentence without a trailing full stop."""

    code: ClassVar[str] = "error"


class StartupError(ForemanError):
    code = "startup"


class ConfigError(StartupError):
    code = "config"


class StoreUnusable(StartupError):
    code = "store_unusable"


class StoreInUse(StoreUnusable):
    """Another foreman has it."""


class NotReached(StartupError):
    """No foreman answers where a command looks for it."""


class Refused(StartupError):
    """foreman says no to what a command asks of it; the message is its own."""


class RequestError(ForemanError):
    """An answer the caller gets at once; no job row exists because of it."""

    code = "request"


class BadRequest(RequestError):
    code = "bad_request"


class InvalidModelName(RequestError):
    code = "invalid_model_name"


class ModelNotFound(RequestError):
    code = "model_not_found"


class BodyTooLarge(RequestError):
    code = "body_too_large"


class BodyEncoded(RequestError):
    """The body is compressed in a way foreman cannot look into."""

    code = "body_encoded"


class BodyStalled(RequestError):
    code = "body_stalled"


class HostRefused(RequestError):
    code = "host_refused"


class OriginRefused(RequestError):
    code = "origin_refused"


class KeyRefused(RequestError):
    code = "key_refused"


class ScopeMissing(RequestError):
    """The key is right and may not do this."""

    code = "scope_missing"


class TooManyFailures(RequestError):
    """Wrong keys, again and again. `wait` is seconds."""

    code = "too_many_failures"

    def __init__(self, message: str, wait: int = 60) -> None:
        super().__init__(message)
        self.wait = wait


class KeyNotFound(RequestError):
    code = "key_not_found"


class NotAllowed(RequestError):
    """The path is known, the method is not. `allow` goes into the Allow header."""

    code = "method_not_allowed"

    def __init__(self, message: str, allow: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allow = allow


class NothingHere(RequestError):
    """A path of foreman's own that it does not have."""

    code = "nothing_here"


class JobNotFound(RequestError):
    code = "job_not_found"


class JobFinished(RequestError):
    """What was asked for cannot be done to a finished job, or only to one."""

    code = "job_finished"


class IdempotencyConflict(RequestError):
    """The key stands for another request, that of job `job_id`."""

    code = "idempotency_conflict"

    def __init__(self, message: str, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class OffsetBeyondEnd(RequestError):
    """`size` is how long the answer is, in bytes."""

    code = "offset_beyond_end"

    def __init__(self, message: str, size: int = 0) -> None:
        super().__init__(message)
        self.size = size


class TooMany(RequestError):
    code = "too_many"


class QueueFull(RequestError):
    code = "queue_full"


class Draining(RequestError):
    code = "draining"


class StorageFull(RequestError):
    code = "storage_full"


class StorageFailed(RequestError):
    code = "storage_failed"


class TargetError(ForemanError):
    code = "target"


class TargetUnreachable(TargetError):
    code = "target_unreachable"


class TargetLost(TargetError):
    code = "target_lost"


class TargetSilent(TargetError):
    code = "target_silent"


class TargetGarbled(TargetError):
    code = "target_garbled"


class TargetMoved(TargetGarbled):
    code = "target_moved"


class TargetStatus(TargetError):
    code = "target_status"


class TargetCut(TargetError):
    code = "truncated"


class MaybeBilled(ForemanError):
    """The API may have done the work and charged for it. Whoever wants it done again has to say so."""

    code = "maybe_billed"


class JobCancelled(ForemanError):
    code = "cancelled"


class JobFailed(ForemanError):
    """`reason` is the code of what went wrong underneath, for example `truncated`."""

    code = "job_failed"

    def __init__(self, message: str, reason: str = "job_failed") -> None:
        super().__init__(message)
        self.reason = reason


class NoRoom(ForemanError):
    """The model that is pulled does not fit on the disk; the message has the figures."""

    code = "no_room"


class NeverFits(ForemanError):
    """What the job needs is more than this machine has; the message has the figures."""

    code = "never_fits"


class ReaderCut(ForemanError):
    code = "reader_cut"


class InternalError(ForemanError):
    code = "internal"
