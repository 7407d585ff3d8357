"""The words of the manual: the groups of commands, and what each says beside its grammar."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

ABOUT: Final = """\
A durable, drop-in queue in front of one Ollama server: clients talk to foreman as they would to Ollama. It keeps what
they ask until it is answered, one job after the other, in an order that seldom changes the model."""

GROUPS: Final = {
    "serving": ("serve", "config", "demo"),
    "jobs": ("submit", "jobs", "queue", "pause", "resume"),
    "models": ("pull",),
    "commands in a lane": ("run",),
    "looking": ("status", "top", "doctor"),
    "keys and copies": ("keys", "backup", "restore"),
}
START: Final = (
    ("foreman serve", "stand in front of the Ollama of this machine"),
    ("foreman status", "see what runs, and why the rest waits"),
    ("foreman submit llama3 hello", "hand a job over"),
    ("foreman doctor", "find out what is wrong"),
)
FOOT: Final = (
    "`foreman COMMAND --help` tells more of each. Settings are flags, environment variables or lines of a file."
)

DONE: Final = "it is done"
WRONG: Final = "the command line or a setting is wrong"
NOBODY: Final = "no foreman answers"
REFUSED: Final = "foreman refused: no such job, already finished, queue full, wrong key"
ASKED: Final = {0: DONE, 2: WRONG, 3: NOBODY, 4: REFUSED}
FOLLOWED: Final = {
    0: "handed over; a job that was followed is done", 1: "the job that was followed failed", 2: WRONG, 3: NOBODY,
    4: REFUSED, 5: "the job that was followed was cancelled",
}  # fmt: skip
FETCHED: Final = {
    0: "every model is there", 1: "a pull failed", 2: WRONG, 3: NOBODY, 4: REFUSED, 5: "a pull was cancelled"
}  # fmt: skip
SERVED: Final = {0: "it was told to stop", 1: "it cannot start, or cannot go on", 2: WRONG}
FORECAST: Final = {3: "with --forecast: no foreman answers", 4: "with --forecast: foreman refused"}
LOOKED: Final = {0: "nothing is wrong", 1: "something is BAD", 2: WRONG, **FORECAST}
COPIED: Final = {0: DONE, 1: "it could not be copied; the error says why, and nothing was changed", 2: WRONG}
ALL: Final = {
    0: DONE, 1: "a job, a start or a copy failed, or doctor found something bad", 2: WRONG, 3: NOBODY,
    4: "foreman refused", 5: "a job that was followed was cancelled",
}  # fmt: skip


class Page(NamedTuple):
    """What a command's help says beside its grammar."""

    more: str = ""
    examples: Sequence[tuple[str, str]] = ()
    statuses: Mapping[int, str] = ASKED


PAGES: Final = {
    "serve": Page(
        "It runs until it gets SIGTERM or Ctrl-C, and then lets the running job end; what waits is kept.",
        (("foreman serve --stub-if-absent", "look around without an Ollama"),
         ("foreman serve --target http://10.0.0.5:11434 --exclusive=false", "an Ollama elsewhere")),
        SERVED,
    ),
    "demo": Page("It leaves nothing behind.", (), {0: "all went as it must", 1: "it did not"}),
    "config show": Page(
        "Nothing is started, so it also shows what `foreman serve` with the same flags would use.",
        (("foreman config show --json", "for programs"),),
        {0: DONE, 2: WRONG},
    ),
    "submit": Page(
        "It prints the job's id. The answer is kept, and GET /jobs/ID/response has it.",
        (("foreman submit llama3 Why is the sky blue", "hand it over"),
         ("foreman submit llama3 --wait < question.txt", "ask, and print the answer"),
         ("foreman submit llama3 hi --not-before 3600", "not within the hour"),
         ("foreman submit --path /api/chat --body chat.json", "a body of your own")),
        FOLLOWED,
    ),
    "pull": Page(
        "A pull waits its turn as a job does, and goes on when foreman restarts.",
        (("foreman pull llama3 qwen3:8b", "both, one after the other"),),
        FETCHED,
    ),
    "jobs list": Page("", (("foreman jobs list --state queued,failed --since 2026-01-31", "some of them"),)),
    "jobs show": Page("", (("foreman jobs show 01M7YSZZAGB5D9CV42KGVEG6KV", ""),)),
    "jobs watch": Page("", (("foreman jobs watch 01M7YSZZAGB5D9CV42KGVEG6KV", ""),), FOLLOWED),
    "jobs cancel": Page("", (("foreman jobs cancel 01M7YSZZAGB5D9CV42KGVEG6KV", ""),)),
    "jobs retry": Page("", (("foreman jobs retry 01M7YSZZAGB5D9CV42KGVEG6KV", "prints the id of the new job"),)),
    "jobs override": Page("", (("foreman jobs override 01M7YSZZAGB5D9CV42KGVEG6KV", ""),)),
    "status": Page("", (("foreman status", "one screen"), ("foreman status --json", "all of it, for programs"))),
    "top": Page(
        "Keys: up and down choose a job, c cancels it after a question, p pauses and resumes the queue, q leaves.",
        (("foreman top --url http://10.0.0.5:11435", "of a foreman elsewhere"),),
        {0: "q was typed", 2: "the command line is wrong, or no terminal", 3: NOBODY, 4: REFUSED, 130: "Ctrl-C"},
    ),
    "queue": Page("", (("watch foreman queue", "again and again"),)),
    "pause": Page("It lasts over a restart. Clients are still let in, and wait.", (("foreman pause", ""),)),
    "resume": Page("", (("foreman resume", ""),)),
    "doctor": Page(
        "It looks at foreman, at the target with its settings and who goes to it past foreman, at disk, permissions, "
        "SQLite, clock and limits, and changes nothing. It needs no foreman that runs.",
        (("foreman doctor", "every look, and what to do"),
         ("sudo foreman doctor", "also at processes of other users"),
         ("foreman doctor --forecast", "how well loads were foreseen")),
        LOOKED,
    ),
    "run": Page("", (("foreman run --local --memory 20GB -- python train.py", "alone on this machine"),
                     ("foreman run --remote -- ./ask-the-cloud.sh", "beside other remote work"))),
    "backup": Page(
        "The copy is whole, and foreman goes on meanwhile.",
        (("foreman backup foreman-$(date +%F).db", "one a day"),),
        COPIED,
    ),
    "restore": Page(
        "The database that was there is kept beside it, under another name.",
        (("foreman restore foreman-2026-01-31.db", ""),),
        COPIED,
    ),
}  # fmt: skip
