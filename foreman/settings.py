"""Which settings there are: each is one field of a dataclass; its flag, variable, TOML key and docs derive from it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Literal

from foreman.core.addresses import Address
from foreman.core.units import GIB, KIB, MIB, TIB
from foreman.kinds import (
    BYTES,
    COUNT,
    DURATION,
    HOSTS,
    HOURS,
    LISTEN,
    OPTIONAL_PATH,
    ORIGINS,
    PATH,
    PROGRAMS,
    RATIO,
    SECONDS,
    SWITCH,
    URL,
    Meta,
    one_of,
)
from foreman.kinds import described as _of
from foreman.remotes import Remote

ClientKeepAlive = Literal["own", "clamp", "respect"]
Swap = Literal["exclusive", "target"]
GateMode = Literal["auto", "on", "off"]
OnClientGone = Literal["cancel", "finish"]
OnRestart = Literal["resume", "drop-attached"]
HttpServer = Literal["quick", "aiohttp"]
TargetConnection = Literal["kept", "single"]
Loop = Literal["uvloop", "asyncio"]
LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

DAY_SECONDS: Final = 86_400.0


def default_db(environ: Mapping[str, str], platform: str) -> Path:
    """Where the database lies when nobody says: the user's data directory of the platform."""
    home = home_of(environ)
    if platform == "darwin":
        return home / "Library" / "Application Support" / "foreman" / "foreman.db"
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "foreman" / "foreman.db"


def home_of(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or os.path.expanduser("~"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Seconds and hours are floats, sizes whole bytes. Made by `load`; directly in tests."""

    listen: Address = field(
        default=Address("127.0.0.1", 11435),
        metadata=_of(
            LISTEN, "Where clients connect. Port 0 picks a free one. Beyond this machine only with api_key_file."
        ),
    )
    target: str = field(
        default="http://127.0.0.1:11434",
        metadata=_of(URL, "The Ollama server behind foreman; a path prefix is allowed."),
    )
    db: Path = field(
        default_factory=lambda: default_db(os.environ, sys.platform),
        metadata=_of(
            PATH,
            "The database: one SQLite file, made on the first start with mode 0600 in a directory with mode 0700.",
            default_text="~/.local/share/foreman/foreman.db; on macOS ~/Library/Application Support/foreman/foreman.db",
        ),
    )
    poll_seconds: float = field(
        default=30.0,
        metadata=_of(
            SECONDS, "How often the target is asked for its models and for what is loaded.", 0.01, DAY_SECONDS
        ),
    )
    keep_alive: str = field(
        default="30m",
        metadata=_of(DURATION, "How long the target keeps a worker model loaded after a job; negative is for ever."),
    )
    client_keep_alive: ClientKeepAlive = field(
        default="own",
        metadata=_of(
            one_of(ClientKeepAlive),
            "What becomes of a client's own keep_alive: own puts foreman's in its place, clamp lowers it to foreman's "
            "at most, respect leaves it.",
        ),
    )
    swap: Swap = field(
        default="exclusive",
        metadata=_of(
            one_of(Swap),
            "How the worker model changes: exclusive unloads the old one before the new one loads, target leaves "
            "eviction to Ollama and takes every loaded model as ready.",
        ),
    )
    exclusive: bool = field(
        default=True,
        metadata=_of(
            SWITCH,
            "Whether the lanes take turns: while local jobs run no remote one begins, and the other way round. "
            "false is for a target on another machine.",
        ),
    )
    remote_slots: int = field(
        default=5,
        metadata=_of(COUNT, "How many jobs of the remote lane (cloud models, remote APIs) run at once.", 1, 1000),
    )
    max_attempts: int = field(default=5, metadata=_of(COUNT, "How often a job is tried before it fails.", 1, 1000))
    retry_base_seconds: float = field(
        default=1.0,
        metadata=_of(
            SECONDS, "The pause before the second attempt; it doubles with each further one.", 0.001, DAY_SECONDS
        ),
    )
    retry_cap_seconds: float = field(
        default=60.0, metadata=_of(SECONDS, "The longest pause between two attempts.", 0.001, DAY_SECONDS)
    )
    connect_timeout_seconds: float = field(
        default=5.0, metadata=_of(SECONDS, "How long a connection to the target may take to open.", 0.01, 3600)
    )
    target_connection: TargetConnection = field(
        default="kept",
        metadata=_of(
            one_of(TargetConnection),
            "How a job travels to the target: kept uses one connection again and again, single opens one for each job "
            "(slower, by aiohttp's client; an https target always gets that).",
        ),
    )
    first_byte_timeout_seconds: float = field(
        default=1800.0,
        metadata=_of(
            SECONDS,
            "How long the target may take to begin an answer, loading included, before it is probed.",
            0.01,
            30 * DAY_SECONDS,
        ),
    )
    idle_timeout_seconds: float = field(
        default=300.0,
        metadata=_of(SECONDS, "How long an answer that has begun may fall silent.", 0.01, 30 * DAY_SECONDS),
    )
    probe_seconds: float = field(
        default=5.0,
        metadata=_of(SECONDS, "How often a target that cannot be reached is tried again.", 0.01, DAY_SECONDS),
    )
    drain_seconds: float = field(
        default=30.0,
        metadata=_of(SECONDS, "How long the running job may take to end when foreman is told to stop.", 0, DAY_SECONDS),
    )
    on_client_gone: OnClientGone = field(
        default="cancel",
        metadata=_of(one_of(OnClientGone), "What becomes of a job whose client hung up: cancel it, or finish it."),
    )
    on_restart: OnRestart = field(
        default="resume",
        metadata=_of(
            one_of(OnRestart),
            "What becomes of unfinished jobs after a restart: resume all, or drop-attached, which cancels those "
            "a client was waiting on.",
        ),
    )
    hold_seconds: float = field(
        default=10.0,
        metadata=_of(
            SECONDS,
            "For how long a waiting client hears nothing, so that an early error keeps its status. Then heartbeats.",
            0.0,
            DAY_SECONDS,
        ),
    )
    heartbeat_seconds: float = field(
        default=10.0,
        metadata=_of(
            SECONDS, "How often a waiting client gets a heartbeat, so that nothing gives up; 0 is never.", 0.0, 3600.0
        ),
    )
    gate: GateMode = field(
        default="auto",
        metadata=_of(one_of(GateMode), "Whether the machine is looked at before a load; auto: if the target is on it."),
    )
    max_load_per_core: float = field(
        default=0.33,
        metadata=_of(RATIO, "The highest 1-minute load of others, for each core, at which one may start.", 0, 1000),
    )
    disk_reserve: int = field(
        default=30 * 10**9,
        metadata=_of(
            BYTES,
            "The disk space that must stay free: no load, pull or create goes below it; 0: no look.",
            0,
            1024 * TIB,
        ),
    )
    memory_reserve: int = field(
        default=4 * 10**9, metadata=_of(BYTES, "The memory that must stay free beside a model.", 0, 1024 * TIB)
    )
    foreign_processes: tuple[str, ...] = field(
        default=("ollama pull", "ollama create", "lms load", "lms get"),
        metadata=_of(PROGRAMS, "Commands of others beside which none is loaded."),
    )
    max_queued: int = field(
        default=10_000, metadata=_of(COUNT, "How many jobs may wait; the next one is refused with 503.", 1, 10_000_000)
    )
    # SQLite keeps at most 1,000,000,000 bytes in one value.
    max_body_bytes: int = field(
        default=128 * MIB,
        metadata=_of(BYTES, "The largest request body; a larger one is refused with 413.", KIB, 900 * MIB),
    )
    relay_buffer_bytes: int = field(
        default=64 * MIB,
        metadata=_of(BYTES, "How much of answers is kept in memory for clients that read slowly.", 64 * KIB, 64 * GIB),
    )
    retention_hours: float = field(
        default=24.0, metadata=_of(HOURS, "How long finished jobs and their answers are kept; 0 keeps none.", 0, 87_600)
    )
    retention_bytes: int = field(
        default=2 * GIB,
        metadata=_of(BYTES, "How large kept answers may grow together; the oldest go first.", 0, 1024 * TIB),
    )
    allowed_hosts: tuple[str, ...] = field(
        default=(), metadata=_of(HOSTS, "Further names by which clients may call foreman (their Host header).")
    )
    allowed_origins: tuple[str, ...] = field(
        default=(), metadata=_of(ORIGINS, "Further web origins whose pages may call foreman.")
    )
    api_key_file: Path | None = field(
        default=None,
        metadata=_of(
            OPTIONAL_PATH,
            "A file with mode 0600 whose first line is the key every client must send (Bearer or x-api-key).",
        ),
    )
    insecure_no_auth: bool = field(
        default=False, metadata=_of(SWITCH, "Listen beyond this machine without a key. Anyone can then use it.")
    )
    http_server: HttpServer = field(
        default="quick",
        metadata=_of(
            one_of(HttpServer),
            "Who reads the requests of clients: quick takes the ordinary ones itself and leaves the others to aiohttp, "
            "aiohttp reads all.",
        ),
    )
    loop: Loop = field(
        default="uvloop",
        metadata=_of(one_of(Loop), "The event loop; uvloop gives way to asyncio where it is missing."),
    )
    log_format: LogFormat = field(
        default="auto",
        metadata=_of(one_of(LogFormat), "How log lines look: auto is text on a terminal and json elsewhere."),
    )
    log_level: LogLevel = field(
        default="info", metadata=_of(one_of(LogLevel), "The least important log lines that are written.")
    )

    # Tables of the file alone: see remotes.py.
    remotes: tuple[Remote, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as its users meet it."""

    name: str
    meta: Meta

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "FOREMAN_" + self.name.upper()

    def show(self, value: object) -> str:
        return self.meta.kind.show(value)


SETTINGS: Final = tuple(Setting(item.name, item.metadata["setting"]) for item in fields(Settings) if item.metadata)
