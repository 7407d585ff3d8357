import pytest

from bench.soak.lives import Lives
from foreman.cli.children import STUB_READY, child


@pytest.mark.parametrize(("how", "status"), [("kill", None), ("stop", 0)])
async def test_a_program_is_ended_and_begun_again(how: str, status: int | None) -> None:
    async with Lives(lambda: child("the stub", "foreman.testing", "--listen=127.0.0.1:0", ready=STUB_READY)) as lives:
        first = lives.child
        assert await getattr(lives, how)() == status
        assert lives.child.pid != first.pid
        lives.child.check()
