import pytest

from bench.options import parsed
from bench.parts.run import PARTS


def test_flags_alone_are_those_of_a_run_of_everything() -> None:
    assert parsed([]).parts == parsed(["all"]).parts == tuple(PARTS)
    assert parsed(["--quick"]).quick
    assert parsed(["storage"]).parts == ("storage",)


def test_the_help_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n    {name}" in out for name in (*PARTS, "all", "load", "report"))
    assert "python -m bench all --help" in " ".join(out.split())


@pytest.mark.parametrize(
    "flags",
    [
        ["--rounds", "0"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["storage", "--only", "lone"],
        ["storage", "--seconds", "1"],
        ["overhead", "--only", "none"],
        ["load"],
        ["load", "--model", "m", "--plot", "picture.png"],
        ["load", "--model", "m", "--seconds", "soon"],
    ],
)
def test_what_makes_no_sense_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(flags)
    assert ended.value.code == 2
    assert "usage: python -m bench" in capsys.readouterr().err
