"""What may be written to a client that waits, so that neither it nor a proxy between gives up.

One space before a line of NDJSON or before a JSON body is white space to every parser; a blank line is an error to
most. In an event stream a comment is made for this, and has room for words.
"""

from foreman.core.framing import Framing

SPACE = b" "


def pad(framing: Framing, words: str) -> bytes:
    """One heartbeat. `words` reach the client only where the framing has room for them."""
    if framing is Framing.SSE:
        return b": " + words.encode("ascii", "replace").replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
    return SPACE


def may_pad(framing: Framing, tail: bytes) -> bool:
    """Whether a heartbeat may follow `tail`, the last bytes of the answer so far (empty: none yet)."""
    if not tail:
        return True
    if framing is Framing.NDJSON:
        return tail.endswith(b"\n")
    if framing is Framing.SSE:
        return tail.endswith((b"\n\n", b"\r\n\r\n"))
    return False
