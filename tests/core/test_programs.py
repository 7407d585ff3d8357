import pytest

from foreman.core.programs import Program, family, foreign, matches, ours, read_patterns, shown, used


@pytest.mark.parametrize(
    ("pattern", "line", "is_one"),
    [
        ("ollama pull", "/usr/local/bin/ollama pull llama3", True),
        ("ollama pull", "OLLAMA PULL llama3", True),
        ("ollama pull", "ollama serve", False),
        ("ollama pull", "ollama", False),
        ("ollama pull", "grep ollama pull", False),
        ("ollama pull", "sudoku ollama pull", False),
        ("lms load", "/home/me/.lmstudio/bin/lms load qwen3", True),
        ("lms load", "node /home/me/.lmstudio/bin/lms load qwen3", True),
        ("pytest", "/usr/bin/python3.12 -m pytest tests", True),
        ("pytest", "python /x/.venv/bin/pytest -x", True),
        ("pytest", "pytest", True),
        ("sweep.py", "env python3 -u sweep.py --all", True),
        ("sweep.py", "vim sweep.py", False),
        ("python", "python anything.py", True),
        ("", "anything", False),
        ("x", "", False),
    ],
)
def test_a_pattern_is_the_beginning_of_a_command(pattern: str, line: str, is_one: bool) -> None:
    assert matches(pattern, line.split()) is is_one


def test_a_shell_that_is_told_a_command_is_not_the_command() -> None:
    assert not matches("ollama pull", ["bash", "-c", "ollama pull x"])


@pytest.mark.parametrize("value", ["??", "a,$(b)", ["a\nb"], ["ollama  pull", "*"], 3])
def test_what_is_no_pattern(value: object) -> None:
    with pytest.raises(ValueError, match=r"commands such as|text with commas"):
        read_patterns(value)


def test_patterns_are_read_from_text_and_arrays() -> None:
    assert read_patterns(" ollama   pull , lms load,") == ("ollama pull", "lms load")
    assert read_patterns(["make sweep"]) == ("make sweep",)
    assert read_patterns("") == ()


def table(*rows: tuple[int, int, str, float]) -> list[Program]:
    return [Program(pid, parent, tuple(line.split()), seconds) for pid, parent, line, seconds in rows]


MACHINE = table(
    (1, 0, "init", 5.0),
    (10, 1, "/usr/bin/ollama serve", 1.0),
    (11, 10, "/usr/lib/ollama/llama-server --model x", 60.0),
    (20, 1, "python -m foreman serve", 2.0),
    (21, 20, "ollama pull mine", 0.5),
    (30, 1, "zsh", 0.1),
    (31, 30, "ollama pull theirs", 0.5),
    (32, 30, "ollama pull theirs", 0.5),
    (40, 1, "node /opt/lms load big", 0.0),
)


def test_heavy_programs_of_others_are_named_once_and_foremans_own_never() -> None:
    assert foreign(MACHINE, ("ollama pull", "lms load"), own=20) == ("ollama pull theirs", "node /opt/lms load big")
    assert foreign(MACHINE, (), own=20) == ()


def test_a_family_is_all_that_was_started() -> None:
    assert family(MACHINE, (1,)) == {1, 10, 11, 20, 21, 30, 31, 32, 40}
    assert family(MACHINE, (10, 30)) == {10, 11, 30, 31, 32}
    circle = table((1, 2, "a", 0), (2, 1, "b", 0))
    assert family(circle, (1,)) == {1, 2}


def test_foreman_and_the_target_and_what_they_started_are_our_own() -> None:
    assert ours(MACHINE, own=20) == {10: 1.0, 11: 60.0, 20: 2.0, 21: 0.5}


@pytest.mark.parametrize(
    "run", ["/opt/bin/python -m foreman run --local --", "python3 /opt/bin/foreman run --local --"]
)
def test_what_runs_a_command_with_a_slot_is_our_own_wherever_it_was_typed(run: str) -> None:
    machine = [*MACHINE, *table((50, 30, f"{run} ollama pull x", 0.5), (51, 50, "ollama pull x", 9.0))]
    assert foreign(machine, ("ollama pull", "foreman"), own=20) == ("ollama pull theirs",)
    assert ours(machine, own=20).keys() == {10, 11, 20, 21, 50, 51}


def test_processor_time_is_what_was_used_since() -> None:
    assert used({1: 10.0, 2: 5.0}, {1: 12.5, 3: 1.0}) == 3.5
    # A pid that came again belongs to another process.
    assert used({1: 10.0}, {1: 0.5}) == 0.0


def test_a_command_is_shown_on_one_short_line() -> None:
    assert shown(["/usr/bin/ollama", "pull", "a\x1b[2J\nb"]) == "ollama pull a?[2J?b"
    assert len(shown(["x" * 200])) == 120
    assert shown([]) == ""
