"""What a script does to the frames of an answer before they are sent. Pure."""

from collections.abc import Iterable, Iterator
from itertools import chain, cycle, islice

from foreman.testing.answers.answer import Answer
from foreman.testing.script import Script, Terminal


def bent(answer: Answer, script: Script) -> Iterable[bytes]:
    """The pieces to send, one HTTP chunk each."""
    frames = answer.frames
    if script.error is not None and answer.streamed:
        frames = chain(islice(frames, script.error_after), (answer.error_frame(script.error),))
    elif script.terminal is not Terminal.KEEP:
        frames = _without_terminal(frames, script.terminal)
    if script.line_bytes:
        frames = _first_padded(frames, script.line_bytes)
    return _sliced(frames, script.slices) if script.slices else frames


def _without_terminal(frames: Iterable[bytes], terminal: Terminal) -> Iterator[bytes]:
    held: bytes | None = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame
    if terminal is Terminal.WRONG and held is not None and b'"done":true' in held:
        yield held.replace(b'"done":true', b'"done":false')


def _first_padded(frames: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Spaces after the first brace: the line is that long and still the same JSON."""
    remaining = iter(frames)
    for frame in islice(remaining, 1):
        yield frame.replace(b"{", b"{" + b" " * max(0, size - len(frame)), 1)
    yield from remaining


def _sliced(frames: Iterable[bytes], sizes: tuple[int, ...]) -> Iterator[bytes]:
    buffer, wanted = bytearray(), cycle(sizes)
    size = next(wanted)
    for frame in frames:
        buffer += frame
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
            size = next(wanted)
    if buffer:
        yield bytes(buffer)
