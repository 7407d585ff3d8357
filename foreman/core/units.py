"""Sizes, times, counts and lists as people write them: each function reads one and says what would be right.

Every reader takes what a flag, an environment variable or a TOML file gives (text, or TOML's own type) and raises
ValueError with words that complete the sentence "the value must be ...".
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB

_DECIMAL: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY: Final = {"kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB}
_SIZES: Final = _DECIMAL | _BINARY
_SHOWN: Final = {"TiB": TIB, "GiB": GIB, "MiB": MIB, "KiB": KIB, "TB": 10**12, "GB": 10**9, "MB": 10**6}
_TIMES: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SIZE: Final = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.IGNORECASE)
_TIME_PART: Final = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)")
_TIME: Final = re.compile(rf"(?:{_TIME_PART.pattern})+")
# Go's time.Duration counts nanoseconds in 64 bits.
_LONGEST_GO_DURATION: Final = Decimal(2**63 - 1) * Decimal("1e-9")
# A TOML integer may be longer than any float.
_MOST_NUMBER: Final = 1e18
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def read_bytes(value: object) -> int:
    """A size in bytes: a whole number, or a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError('a size such as "64MiB", "2 GiB" or 1000000')
    return int(Decimal(match[1]) * _SIZES[match[2].lower()])


def show_bytes(size: int) -> str:
    """The size in the largest unit that keeps it exact: `128 MiB`, `30 GB`, `1000 B`."""
    exact = [(size // unit, name) for name, unit in _SHOWN.items() if size and size % unit == 0]
    number, name = min(exact, default=(size, "B"))
    return f"{number} {name}"


def gigabytes(size: float) -> str:
    """A size for a sentence: `43 GB`, `4.7 GB`."""
    return f"{size / 10**9:.1f}".removesuffix(".0") + " GB"


def show_number(number: float) -> str:
    """The number without a needless fraction and never in powers of ten: `30`, `0.5`, `2592000`."""
    return str(int(number)) if number == int(number) else str(number)


def read_seconds(value: object) -> float:
    """Seconds: a number, or a time such as `30s`, `5m`, `1h30m`, `500ms`."""
    return _read_time(value, Decimal(1), 'seconds such as 30, 1.5, "30s" or "5m"')


def read_hours(value: object) -> float:
    """Hours: a number, or a time such as `24h`, `90m`."""
    return _read_time(value, _TIMES["h"], 'hours such as 24, 0.5, "24h" or "90m"')


def _read_time(value: object, unit: Decimal, problem: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST_NUMBER:
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if _TIME.fullmatch(text):
        return float(_total(text) / unit)
    raise ValueError(problem)


def read_keep_alive(value: object) -> str:
    """How long a model stays loaded, as Ollama reads it from text; a bare number counts seconds.

    Ollama takes Go durations, negative ones meaning "for ever", and answers 400 to the texts "300" and "-1": they
    become "300s" and "-1s". Zero is refused: it would unload the model after every job.
    """
    problem = 'a time such as "30m", "1h30m", "300s", or "-1m" for ever'
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(problem)
    text = str(value).strip()
    if re.fullmatch(rf"[-+]?{_NUMBER}", text):
        text += "s"
    length = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if not _TIME.fullmatch(length) or _total(length) > _LONGEST_GO_DURATION:
        raise ValueError(problem)
    if _total(length) < _TIMES["ns"]:
        raise ValueError(f"{problem}, and not 0, which would unload the model after every job")
    return text


def _total(text: str) -> Decimal:
    return sum((Decimal(number) * _TIMES[unit] for number, unit in _TIME_PART.findall(text)), Decimal(0))


def read_count(value: object) -> int:
    """A whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value.strip()):
        return int(value)
    raise ValueError("a whole number")


def read_ratio(value: object) -> float:
    """A plain number."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(_NUMBER, text):
        return float(text)
    if isinstance(text, (int, float)) and not isinstance(text, bool) and abs(text) <= _MOST_NUMBER:
        return float(text)
    raise ValueError("a number such as 0.33")


def read_switch(value: object) -> bool:
    """True or false; in text also yes/no, on/off, 1/0."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("true or false")


def read_choice(choices: tuple[str, ...]) -> Callable[[object], str]:
    """A reader for one word of several; case does not matter."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return word

    return read


def read_list(value: object) -> tuple[str, ...]:
    """Entries from comma-separated text or from an array of texts; empty entries fall away."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("text with commas, or an array of texts")
    return tuple(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))
