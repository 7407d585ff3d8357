"""The entry point: one command in, an exit status out.

0 is success, 1 a process that cannot start or run, 2 a wrong command line or setting. Errors are one line.
Commands are imported when they run, so that `foreman --version` need not load a server.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

from foreman.cli import flags
from foreman.cli.config_show import show
from foreman.config import check_exposure, load
from foreman.core.errors import ConfigError, NotReached, Refused, StartupError
from foreman.log import escape

STATUSES: Final[dict[type[StartupError], int]] = {ConfigError: 2, NotReached: 3, Refused: 4}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `foreman` with these arguments (the process's own by default) and return the exit status."""
    try:
        line = flags.parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as done:
        return int(done.code or 0)
    except ConfigError as error:
        return _fail(error)
    try:
        return _run(line)
    except StartupError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read has gone; what is still in the buffer must not be written when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(line: flags.CommandLine) -> int:
    if line.command == "demo":
        from foreman.cli.demo import run

        return run()
    configured = load(line.values, os.environ, line.config_path)
    if line.command == "config show":
        print(show(configured, as_json=line.as_json))
        return 0
    if line.file is not None:
        from foreman.cli.copies import run as copy

        return copy(line.command, line.file, configured.settings.db)
    if line.ask is not None:
        from foreman.cli.ask import run as ask

        return ask(line.ask, configured)
    if line.run is not None:
        from foreman.cli.run import run as run_command

        return run_command(line.run, configured)
    check_exposure(configured.settings)
    from foreman.engine import collector

    with collector.resting():
        from foreman.cli.serve import serve

        return serve(configured, line.stub_if_absent)


def _fail(error: StartupError) -> int:
    print(f"foreman: {escape(str(error), 1000)}", file=sys.stderr)
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 1)
