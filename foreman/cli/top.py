"""`foreman top`: the screen of `foreman status`, live, with keys.

It looks as often as foreman tells of a change, and once a second for what changes by itself. What it waits for never
keeps a key waiting. The terminal is left as it was found, whatever ends it.
"""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from foreman.cli.api import Api
from foreman.cli.status import look
from foreman.cli.terminal import wants_colour, writable
from foreman.cli.topview import Act, View, keys_in
from foreman.core.errors import ConfigError, NotReached, Refused

LOOK_SECONDS: Final = 1.0
# However much happens, it looks no oftener.
PAUSE_SECONDS: Final = 0.1
RECENT: Final = 8
_SCREEN_ON, _SCREEN_OFF = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
END: Final = b"\x04"


async def top(api: Api, out: TextIO, environ: Mapping[str, str]) -> int:
    """Until q or Ctrl-C. Raises ConfigError where there is no terminal, NotReached where no foreman answers."""
    if not (out.isatty() and sys.stdin.isatty()):
        raise ConfigError("foreman top needs a terminal; foreman status --json is for programs")
    view = View(await look(api, RECENT))
    with Screen(out, environ).shown() as screen:
        await Session(api, view, screen).run()
    return 0


class Screen:
    """The terminal: a screen of its own, and keys as they are typed."""

    def __init__(self, out: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._colour = wants_colour(out, environ)

        self._before = termios.tcgetattr(sys.stdin.fileno())

    @contextmanager
    def shown(self) -> Iterator["Screen"]:
        try:
            self._on()
            yield self
        finally:
            with suppress(OSError, termios.error):  # the terminal itself may be gone
                self._off()

    def _on(self) -> None:
        tty.setcbreak(sys.stdin.fileno())
        self._write(_SCREEN_ON)

    def _off(self) -> None:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
        self._write(_SCREEN_OFF)

    def stop(self) -> None:
        """Ctrl-Z: the shell has its terminal until it lets this process go on."""
        self._off()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._on()

    def draw(self, view: View) -> None:
        size = os.get_terminal_size(self._out.fileno())
        view.columns, view.rows = size.columns or 80, size.lines or 24
        lines = view.lines(self._colour)
        self._write(_HOME + "\r\n".join(_CLEAR + line for line in lines) + _REST)

    def _write(self, text: str) -> None:
        self._out.write(writable(text, self._out))
        self._out.flush()


class Session:
    """The keys, the looks and the drawing, each at its own pace."""

    def __init__(self, api: Api, view: View, screen: Screen) -> None:
        self._api, self._view, self._screen = api, view, screen
        self._acts: asyncio.Queue[Act] = asyncio.Queue()
        self._changed, self._redraw = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._read)
        handlers = {
            signal.SIGWINCH: self._redraw.set,
            signal.SIGTSTP: self._stop,
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        tasks = [asyncio.create_task(each) for each in (self._look(), self._follow(), self._act())]
        try:
            while not self._view.ended:
                self._screen.draw(self._view)
                await self._redraw.wait()
                self._redraw.clear()
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            loop.remove_reader(sys.stdin.fileno())
            for number in handlers:
                loop.remove_signal_handler(number)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self) -> None:
        try:
            typed = os.read(sys.stdin.fileno(), 64)
        except OSError:  # the terminal is gone
            typed = b""
        for key in keys_in(typed or END):
            act = self._view.press(key)
            if act is not None:
                self._acts.put_nowait(act)
        self._redraw.set()

    def _stop(self) -> None:
        self._screen.stop()
        self._redraw.set()

    def _end(self) -> None:
        self._view.ended = True
        self._redraw.set()

    async def _act(self) -> None:
        """One after the other, in the order in which they were asked for."""
        while True:
            act = await self._acts.get()
            try:
                await self._api.ask(act.method, act.path)
                self._view.said = act.done
            except (Refused, NotReached) as error:
                self._view.said = str(error)
            self._changed.set()
            self._redraw.set()

    async def _look(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            try:
                self._view.see(await look(self._api, RECENT))
            except NotReached:
                self._view.trouble = "foreman does not answer; its jobs are kept, waiting for it"
            except Refused as error:
                self._view.trouble = str(error)
            self._redraw.set()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _follow(self) -> None:
        """Wake the looks at every change; a connection that ends is made again."""
        while True:
            with suppress(NotReached, Refused):
                async with self._api.events() as events:
                    async for line in events.content:
                        if line.startswith(b"event:"):
                            self._changed.set()
            await asyncio.sleep(LOOK_SECONDS)
