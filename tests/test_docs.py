"""The pages: their links, names, commands and tables are held against the code, so that none goes stale unnoticed."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from foreman.cli import flags
from foreman.config import load
from foreman.core import errors, slots
from foreman.core.errors import ConfigError, ForemanError, StartupError
from foreman.core.job import TRANSITIONS, JobState
from foreman.core.ollama import EMBEDDING_PATHS, JOB_PATHS, LOAD_OPTIONS, QUEUED_PATHS
from foreman.remotes import FIELDS
from foreman.settings import SETTINGS
from foreman.web.errors import headers_of, status_of
from foreman.web.routes import METHODS, OWN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "deploy" / "README.md"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """The lines of its `sh` blocks, continued ones joined."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip():
                yield line.strip()


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """The cells of the tables below a heading (of the whole page without one), heads left out."""
    text = page.read_text()
    if heading:
        text = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {n - 1 for n, line in enumerate(lines) if line.startswith("|---")}
    kept = [line for n, line in enumerate(lines) if n not in heads and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


# -- links


def anchor(heading: str) -> str:
    """What a heading is called in a link, as the usual renderers make it."""
    text = re.sub(r"`|\[([^\]]*)\]\([^)]*\)", lambda m: m[1] or "", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(line.lstrip("#")) for line in prose(page).splitlines() if line.startswith("#")}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))]
        found = {(page.parent / link).resolve() for link in links if link.endswith(".md") and "://" not in link}
        todo += found - seen
    assert set(PAGES) <= seen


# -- names and words


def flags_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every flag of a parser and of the commands below it."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags_of(command)


@EACH_PAGE
def test_a_flag_named_alone_is_one_of_foreman(page: Path) -> None:
    known = set(flags_of(flags.parser()))
    named = {span.partition("=")[0] for span in re.findall(r"`(--[a-z][^` ]*)[^`]*`", prose(page))}
    assert named <= known


@EACH_PAGE
def test_a_page_speaks_of_the_project_alone(page: Path) -> None:
    words = r"/work/|/root/|DESIGN\.md|HOUSE\.md|\bfacts/|\bsessions?\b|\bhelpers?\b|\bbrief\b|\bTODO\b"
    assert re.findall(rf"(?i:{words})|PERFORMANCE\.md", page.read_text()) == []


def test_every_setting_stands_on_its_page() -> None:
    named = [row[0].strip("`") for row in rows(DOCS / "settings.md")]
    assert named == [*(entry.name for entry in SETTINGS), *(entry.name for entry in FIELDS)]


@EACH_PAGE
def test_a_value_given_to_a_setting_is_one_it_takes(page: Path) -> None:
    """`on_restart = resume` in the prose, as TOML would have it or without its quotes."""
    for name, value in re.findall(r"`([a-z_]+) = \"?([^`\"]+)\"?`", prose(page)):
        given = "foreman.toml"
        assert name in {entry.name for entry in SETTINGS}, name
        load({name: value}, {"HOME": str(ROOT / given)})


# -- commands


def test_there_are_commands_to_check() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 20


@EACH_PAGE
def test_every_command_of_foreman_is_one(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words[0].rpartition("/")[2] == "foreman":
            check_foreman(words[1:])
        elif words[0] == "make":
            check_make(words[1:])
        elif words[0] == "curl":
            check_curl(words[1:])


def check_foreman(words: list[str]) -> None:
    """A command that foreman takes, with values that its settings take."""
    if words == ["--version"]:
        return
    line = flags.parse(words)
    load(line.values, {"HOME": "/nonexistent"})


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    target, *rest = words
    assert target in targets
    for word in rest:
        name, _, value = word.partition("=")
        assert name in ("ARGS", "PYTHON"), word
        if name == "ARGS" and target == "run":
            check_foreman(["serve", *shlex.split(value)])


CURL_FLAGS = {"-d": 1, "-H": 1, "-X": 1, "-i": 0, "-N": 0, "-s": 0, "-sS": 0}
PASSED_ON = {"/api/show", *EMBEDDING_PATHS}


def check_curl(words: list[str]) -> None:
    """A known flag, a path that foreman or Ollama knows, a method it takes, and a body that is JSON."""
    url, body, method = "", None, ""
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            value = next(rest) if CURL_FLAGS[word] else ""
            body = value if word == "-d" else body
            method = value if word == "-X" else method
        else:
            assert url == ""
            url = word
    parts = urlsplit(url)
    assert (parts.scheme, parts.port) == ("http", 11435)
    method = method or ("GET" if body is None else "POST")
    own = {known for known, path, _ in OWN if re.fullmatch(path.replace("{id}", "[0-9A-Z]{26}"), parts.path)}
    assert own or parts.path in METHODS or parts.path in PASSED_ON
    if own or parts.path in METHODS:
        assert method in own or method in METHODS[parts.path]
    if parts.path == slots.PATH:
        slots.read((body or "").encode())
    elif body is not None:
        said = json.loads(body)
        for job in said if isinstance(said, list) else [said]:
            assert (job["body"] if parts.path == "/jobs" else job)["model"]
            assert parts.path != "/jobs" or job["path"] in JOB_PATHS


def test_the_checks_of_commands_find_what_is_wrong() -> None:
    wrong = ["foreman serve --prot 1", "foreman sreve", "foreman serve --listen nowhere"]
    for line in wrong:
        with pytest.raises(ConfigError):
            check_foreman(shlex.split(line)[1:])
    for check, line in ((check_make, "runn"), (check_curl, "http://127.0.0.1:11435/api/chta -d '{}'")):
        with pytest.raises(AssertionError):
            check(shlex.split(line))


# -- how-it-works.md

STATES = "|".join(JobState)


def test_the_moves_of_a_job_are_those_of_the_code() -> None:
    moves = [(row[0].strip("`"), row[1].strip("`")) for row in rows(DOCS / "how-it-works.md", "The states of a job")]
    assert len(moves) == len(set(moves))
    assert set(moves) == {(start, end) for start, ends in TRANSITIONS.items() for end in ends}


def test_the_diagram_of_the_states_names_each_once() -> None:
    text = (DOCS / "how-it-works.md").read_text().partition("## The states of a job")[2]
    diagram = text.split("```")[1]
    boxed = re.findall(rf"(?<=[|]) *({STATES}) *(?=[|])", diagram)
    assert sorted(boxed) == sorted(JobState)


def test_the_paths_of_jobs_are_those_of_the_code() -> None:
    table = rows(DOCS / "how-it-works.md", "Which requests become jobs")
    assert re.findall(r"`(/[^`]*)`", table[0][0]) == sorted(QUEUED_PATHS, key=table[0][0].index)
    assert set(re.findall(r"`(/[^`]*)`", table[3][0])) == set(EMBEDDING_PATHS)
    named = {path for row in table for path in re.findall(r"`(/[^`]*)`", row[0])}
    assert set(METHODS) <= named


def test_the_options_that_make_a_load_key_are_those_of_the_code() -> None:
    text = (DOCS / "how-it-works.md").read_text().partition("## The order of work")[2]
    sentence = text.partition("at loading:")[2].partition(".")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == {*LOAD_OPTIONS, "shift"}


# -- errors.md


def raised() -> list[type[ForemanError]]:
    """Every class of error that can meet a user: all but the ones that only hold others together."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ForemanError)]
    return [kind for kind in kinds if kind not in (ForemanError, errors.RequestError, errors.TargetError)]


def test_every_error_has_its_row() -> None:
    shown = {row[0].strip("`"): (row[1], row[2]) for row in rows(DOCS / "errors.md", "Answers")}
    expected = {}
    for kind in raised():
        if not issubclass(kind, (StartupError, errors.ReaderCut)):
            error = kind("")
            expected[kind.code] = (str(status_of(error)), headers_of(error).get("Retry-After", "-"))
    assert shown == expected


def test_errors_that_come_too_late_for_a_status_have_their_row() -> None:
    shown = [row[0].strip("`") for row in rows(DOCS / "errors.md", "In the middle of an answer")]
    assert shown == [errors.ReaderCut.code]


def test_every_row_says_what_to_do() -> None:
    for row in rows(DOCS / "errors.md", "Answers"):
        assert len(row) == 5
        assert all(row), row[0]


def test_every_reason_not_to_start_has_its_row() -> None:
    shown = {row[0].strip("`"): row[1] for row in rows(DOCS / "errors.md", "At the start")}
    kinds = [kind for kind in raised() if issubclass(kind, StartupError)]
    assert shown == {kind.code: "2" if issubclass(kind, ConfigError) else "1" for kind in kinds}


def test_the_stored_codes_are_written_somewhere() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "foreman" / "engine").glob("*.py"))
    for row in rows(DOCS / "errors.md", "What is stored with a job"):
        code = row[0].strip("`").replace("NNN", "{status}")
        assert f'"{code}"' in source or f"'{code}'" in source, code


# -- architecture.md


def mapped() -> set[str]:
    return {row[0].strip("`") for row in rows(DOCS / "architecture.md")}


def test_every_file_on_the_map_exists() -> None:
    assert [name for name in mapped() if not (ROOT / name).is_file()] == []


def test_every_folder_is_on_the_map() -> None:
    folders = {path.parent for path in (ROOT / "foreman").rglob("*.py")}
    shown = {(ROOT / name).parent for name in mapped()}
    assert {folder.relative_to(ROOT).as_posix() for folder in folders - shown} <= {"foreman/testing/answers"}


def test_files_named_in_the_text_exist() -> None:
    text = prose(DOCS / "architecture.md")
    named = re.findall(r"`([\w/]+\.py)`", text)
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "foreman" / name).exists()] == []


# -- decisions


def records() -> list[Path]:
    return sorted((DOCS / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("record", records(), ids=lambda record: record.stem)
def test_a_decision_has_its_parts(record: Path) -> None:
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]}: ")
    headings = re.findall(r"^## (\w+)", text, re.MULTILINE)
    assert headings[:3] == ["Context", "Decision", "Consequences"]
    assert {"Considered", "Measured"} & set(headings)


def test_decisions_are_numbered_and_listed() -> None:
    assert [record.name[:4] for record in records()] == [f"{n:04}" for n in range(1, len(records()) + 1)]
    listed = [row[0] for row in rows(DOCS / "decisions" / "README.md")]
    assert listed == [f"[{record.name[:4]}]({record.name})" for record in records()]
