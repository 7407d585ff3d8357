import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from foreman.config import Configured, load
from foreman.core.addresses import Address
from foreman.core.errors import ConfigError
from foreman.core.units import GIB, MIB
from foreman.settings import SETTINGS, Settings, check_exposure, default_db

# The names and defaults that users were promised; a change here is a change for them.
PROMISED: dict[str, object] = {
    "listen": Address("127.0.0.1", 11435),
    "target": "http://127.0.0.1:11434",
    "poll_seconds": 30.0,
    "keep_alive": "30m",
    "client_keep_alive": "own",
    "swap": "exclusive",
    "exclusive": True,
    "remote_slots": 5,
    "max_attempts": 5,
    "retry_base_seconds": 1.0,
    "retry_cap_seconds": 60.0,
    "connect_timeout_seconds": 5.0,
    "target_connection": "kept",
    "first_byte_timeout_seconds": 1800.0,
    "idle_timeout_seconds": 300.0,
    "probe_seconds": 5.0,
    "drain_seconds": 30.0,
    "on_client_gone": "cancel",
    "on_restart": "resume",
    "hold_seconds": 10.0,
    "heartbeat_seconds": 10.0,
    "gate": "auto",
    "max_load_per_core": 0.33,
    "disk_reserve": 30 * 10**9,
    "memory_reserve": 4 * 10**9,
    "foreign_processes": ("ollama pull", "ollama create", "lms load", "lms get"),
    "max_queued": 10_000,
    "max_body_bytes": 128 * MIB,
    "relay_buffer_bytes": 64 * MIB,
    "retention_hours": 24.0,
    "retention_bytes": 2 * GIB,
    "allowed_hosts": (),
    "allowed_origins": (),
    "api_key_file": None,
    "insecure_no_auth": False,
    "http_server": "quick",
    "loop": "uvloop",
    "log_format": "auto",
    "log_level": "info",
}

# A value for each setting that differs from its default: as text, and as TOML has it.
OTHER: dict[str, tuple[str, str, object]] = {
    "listen": ("[::1]:0", '"[::1]:0"', Address("::1", 0)),
    "target": ("box:11434", '"box:11434"', "http://box:11434"),
    "db": ("/x/y.db", '"/x/y.db"', Path("/x/y.db")),
    "poll_seconds": ("5m", "300", 300.0),
    "keep_alive": ("300", "300", "300s"),
    "client_keep_alive": ("Clamp", '"clamp"', "clamp"),
    "swap": ("target", '"target"', "target"),
    "exclusive": ("false", "false", False),
    "remote_slots": ("2", "2", 2),
    "max_attempts": ("7", "7", 7),
    "retry_base_seconds": ("0.5", "0.5", 0.5),
    "retry_cap_seconds": ("2m", '"2m"', 120.0),
    "connect_timeout_seconds": ("1", "1", 1.0),
    "target_connection": ("single", '"single"', "single"),
    "first_byte_timeout_seconds": ("1h", '"1h"', 3600.0),
    "idle_timeout_seconds": ("60", "60", 60.0),
    "probe_seconds": ("500ms", "0.5", 0.5),
    "drain_seconds": ("0", "0", 0.0),
    "on_client_gone": ("finish", '"finish"', "finish"),
    "on_restart": ("drop-attached", '"drop-attached"', "drop-attached"),
    "hold_seconds": ("5", "5", 5.0),
    "heartbeat_seconds": ("0", "0", 0.0),
    "gate": ("ON", '"on"', "on"),
    "max_load_per_core": ("0.5", "0.5", 0.5),
    "disk_reserve": ("100 GB", '"100 GB"', 100 * 10**9),
    "memory_reserve": ("8GiB", '"8 GiB"', 8 * GIB),
    "foreign_processes": ("pytest,make sweep", '["pytest", "make sweep"]', ("pytest", "make sweep")),
    "max_queued": ("1", "1", 1),
    "max_body_bytes": ("1MiB", "1_048_576", MIB),
    "relay_buffer_bytes": ("1 GiB", '"1 GiB"', GIB),
    "retention_hours": ("48h", '"48h"', 48.0),
    "retention_bytes": ("0", "0", 0),
    "allowed_hosts": ("a.lan,b.lan", '["a.lan", "b.lan"]', ("a.lan", "b.lan")),
    "allowed_origins": ("http://a:1", '["http://a:1"]', ("http://a:1",)),
    "api_key_file": ("/x/key", '"/x/key"', Path("/x/key")),
    "insecure_no_auth": ("true", "true", True),
    "http_server": ("aiohttp", '"aiohttp"', "aiohttp"),
    "loop": ("asyncio", '"asyncio"', "asyncio"),
    "log_format": ("json", '"json"', "json"),
    "log_level": ("DEBUG", '"debug"', "debug"),
}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose home directory is empty."""
    return {"HOME": str(tmp_path / "home")}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_names_and_defaults_are_the_promised_ones(home: dict[str, str]) -> None:
    settings = load({}, home).settings
    found = {entry.name: getattr(settings, entry.name) for entry in SETTINGS}
    assert found == PROMISED | {"db": found["db"]}


def test_defaults_can_be_written_as_text_and_read_back() -> None:
    defaults = Settings()
    for entry in SETTINGS:
        shown = entry.show(getattr(defaults, entry.name))
        if shown != "none":
            assert entry.meta.kind.read(shown) == getattr(defaults, entry.name)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().swap = "target"  # type: ignore[misc]


def test_the_database_lies_where_the_platform_keeps_such_things() -> None:
    home = {"HOME": "/home/me"}
    assert default_db(home, "linux") == Path("/home/me/.local/share/foreman/foreman.db")
    assert default_db(home | {"XDG_DATA_HOME": "/x"}, "linux") == Path("/x/foreman/foreman.db")
    assert default_db(home, "darwin") == Path("/home/me/Library/Application Support/foreman/foreman.db")


def test_every_setting_has_an_example_here() -> None:
    assert list(OTHER) == [entry.name for entry in SETTINGS]


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_comes_from_flag_environment_and_file(name: str, home: dict[str, str], tmp_path: Path) -> None:
    text, toml, value = OTHER[name]
    file = write(tmp_path / "foreman.toml", f"{name} = {toml}\n")
    variable = f"FOREMAN_{name.upper()}"
    given: list[tuple[Configured, str]] = [
        (load({name: text}, home), "flag --" + name.replace("_", "-")),
        (load({}, home | {variable: text}), variable),
        (load({}, home, file), str(file)),
    ]
    for configured, source in given:
        assert getattr(configured.settings, name) == value
        assert configured.sources[name] == source
        others = {other for other in configured.sources if other != name}
        assert {configured.sources[other] for other in others} == {"default"}


def test_flag_beats_environment_beats_file_beats_default(home: dict[str, str], tmp_path: Path) -> None:
    file = write(tmp_path / "f.toml", "max_attempts = 2\nmax_queued = 2\npoll_seconds = 2\n")
    environ = home | {"FOREMAN_MAX_ATTEMPTS": "3", "FOREMAN_MAX_QUEUED": "3"}
    configured = load({"max_attempts": "4"}, environ, file)
    settings = configured.settings
    assert (settings.max_attempts, settings.max_queued, settings.poll_seconds, settings.probe_seconds) == (4, 3, 2, 5)
    assert [configured.sources[name] for name in ("max_attempts", "max_queued", "poll_seconds", "probe_seconds")] == [
        "flag --max-attempts",
        "FOREMAN_MAX_QUEUED",
        str(file),
        "default",
    ]


def test_the_file_is_the_named_one_or_the_variable_s_or_the_one_at_home(home: dict[str, str], tmp_path: Path) -> None:
    assert load({}, home).settings.max_attempts == 5
    write(Path(home["HOME"]) / ".config" / "foreman" / "foreman.toml", "max_attempts = 6")
    assert load({}, home).settings.max_attempts == 6
    xdg = write(tmp_path / "xdg" / "foreman" / "foreman.toml", "max_attempts = 9").parents[1]
    assert load({}, home | {"XDG_CONFIG_HOME": str(xdg)}).settings.max_attempts == 9
    by_variable = home | {"FOREMAN_CONFIG": str(write(tmp_path / "v.toml", "max_attempts = 7"))}
    assert load({}, by_variable).settings.max_attempts == 7
    assert load({}, by_variable, write(tmp_path / "n.toml", "max_attempts = 8")).settings.max_attempts == 8


def test_ollama_host_is_not_read(home: dict[str, str]) -> None:
    assert load({}, home | {"OLLAMA_HOST": "http://elsewhere:1"}).settings.target == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: path.unlink(missing_ok=True), "does not exist"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b"db = '\xff'"), "is not TOML"),
        (lambda path: path.write_text("db = "), "is not TOML"),
        (lambda path: path.write_text("max_queued = " + "9" * 5000), "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used(
    prepare: Callable[[Path], object], words: str, home: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "foreman.toml"
    prepare(path)
    for environ, named in ((home, path), (home | {"FOREMAN_CONFIG": str(path)}, None)):
        with pytest.raises(ConfigError, match=f"{path} .*{words}|{path} {words}"):
            load({}, environ, named)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pol_seconds = 1", "unknown setting 'pol_seconds' in .*; did you mean poll_seconds?"),
        ("poll-seconds = 1", "did you mean poll_seconds?"),
        ("[listen]\nhost = 'x'", "listen .* must be HOST:PORT"),
        ("[server]\nlisten = ':1'", "unknown setting 'server'"),
        ("zzz = 1", "`foreman config show` lists all settings"),
    ],
)
def test_unknown_keys_of_the_file(text: str, words: str, home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load({}, home, write(tmp_path / "f.toml", text))


def test_unknown_variables_get_a_suggestion(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"FOREMAN_TARGETS; did you mean FOREMAN_TARGET\?"):
        load({}, home | {"FOREMAN_TARGETS": "x"})
    with pytest.raises(ConfigError, match=r"FOREMAN_CONFG; did you mean FOREMAN_CONFIG\?"):
        load({}, home | {"FOREMAN_CONFG": "x"})


@pytest.mark.parametrize("name", [name for name in OTHER if name not in ("db", "api_key_file")])
def test_a_wrong_value_names_setting_source_value_and_cure(name: str, home: dict[str, str]) -> None:
    variable = f"FOREMAN_{name.upper()}"
    with pytest.raises(ConfigError) as caught:
        load({}, home | {variable: "??"})
    message = str(caught.value)
    assert message.startswith(f"{name} (from {variable}) is '??' but must be ")
    assert "\n" not in message


LIMITED = [entry for entry in SETTINGS if entry.meta.low is not None]


@pytest.mark.parametrize("entry", LIMITED, ids=lambda entry: entry.name)
def test_limits_hold_at_both_ends(entry: object, home: dict[str, str], tmp_path: Path) -> None:
    meta, name = entry.meta, entry.name  # type: ignore[attr-defined]
    file = tmp_path / "f.toml"
    # The pause's base may not exceed its cap, so the two move together here.
    both = {"retry_base_seconds": "retry_cap_seconds", "retry_cap_seconds": "retry_base_seconds"}.get(name)
    for limit in (meta.low, meta.high):
        write(file, f"{name} = {limit}\n" + (f"{both} = {limit}\n" if both else ""))
        assert getattr(load({}, home, file).settings, name) == limit
    for beyond, words in ((meta.low - 1, "at least"), (meta.high + 1, "at most")):
        write(file, f"{name} = {beyond}\n")
        with pytest.raises(ConfigError, match=f"{name} .*must be {words} "):
            load({}, home, file)


def test_what_counts_has_limits() -> None:
    unlimited = {e.name for e in SETTINGS if e.meta.kind.unit in ("seconds", "hours", "count", "bytes", "number")}
    assert unlimited == {entry.name for entry in LIMITED}


def test_a_password_in_the_target_is_never_shown(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"\*\*\*@box") as caught:
        load({"target": "http://me:hunter2@box:11434"}, home)
    assert "hunter2" not in str(caught.value)


def test_a_long_value_is_cut(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"swap": "x" * 10_000}, home)
    assert len(str(caught.value)) < 300


def test_the_first_pause_is_not_above_the_longest(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="retry_base_seconds must not be above retry_cap_seconds"):
        load({"retry_base_seconds": "61"}, home)


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        (":11434", "http://127.0.0.1:11434"),
        ("localhost:11434", "http://[::1]:11434/x"),
        ("0.0.0.0:80", "http://localhost"),
        ("10.0.0.9:443", "https://10.0.0.9"),
    ],
)
def test_foreman_is_not_its_own_target(listen: str, target: str, home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is where foreman itself listens"):
        load({"listen": listen, "target": target}, home)


def test_the_same_port_elsewhere_is_a_target(home: dict[str, str]) -> None:
    assert load({"listen": ":11434", "target": "http://box:11434"}, home).settings.target == "http://box:11434"
    assert load({"listen": ":0", "target": "http://localhost:1"}, home).settings.listen.port == 0


def test_loopback_needs_no_key() -> None:
    check_exposure(Settings(listen=Address("::1", 1)), keys=False)


def test_listening_to_others_needs_a_key_or_a_loud_word() -> None:
    open_to_all = Settings(listen=Address("0.0.0.0", 1))
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:1 .*`foreman keys create`, or .*--insecure-no-auth"):
        check_exposure(open_to_all, keys=False)
    check_exposure(dataclasses.replace(open_to_all, insecure_no_auth=True), keys=False)
    check_exposure(open_to_all, keys=True)
