"""The page of the dependencies: what is locked, no more and no less, each under the licence it says itself."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
# What a package says in its classifiers or in free text, as SPDX writes it.
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
    "MIT License": "MIT",
}


def pinned(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / lock).read_text(), re.MULTILINE))


def tables() -> dict[str, dict[str, tuple[str, str]]]:
    """By heading: what each row says of a package."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for section in PAGE.split("\n## ")[1:]:
        rows = re.findall(r"^\| ([a-z0-9._-]+) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
        found[section.splitlines()[0]] = {name: (licence, why) for name, licence, why in rows if name != "package"}
    return found


ROWS = {name: row for table in tables().values() for name, row in table.items()}


def licences(package: str) -> set[str]:
    """What an installed package says of its licence, in each place where it may say it."""
    told = metadata.metadata(package)
    said = {line.partition("\n")[0] for key in ("License-Expression", "License") for line in told.get_all(key) or []}
    said |= {line for line in told.get_all("Classifier") or [] if line.startswith("License ::")}
    return {SPDX.get(line, line) for line in said if line}


def test_the_page_tells_of_all_that_is_locked_and_of_nothing_else() -> None:
    assert set(ROWS) == pinned("requirements.lock")


def test_what_foreman_names_itself_stands_first() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}
    assert set(tables()["foreman's own"]) == named


@pytest.mark.parametrize("package", sorted(ROWS))
def test_the_licence_is_what_the_package_says(package: str) -> None:
    try:
        said = licences(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not for this Python or machine")
    assert ROWS[package][0] in said


@pytest.mark.parametrize("package", sorted(tables()["What these need"]))
def test_who_needs_it_does_so(package: str) -> None:
    needing = ROWS[package][1]
    assert any(re.match(rf"{package}\b", line, re.IGNORECASE) for line in metadata.requires(needing) or [])
