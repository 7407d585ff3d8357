"""What a handler finds in the application, typed."""

from typing import Final

from aiohttp import web

from foreman.engine.engine import Engine
from foreman.settings import Settings

ENGINE: Final = web.AppKey("ENGINE", Engine)
SETTINGS: Final = web.AppKey("SETTINGS", Settings)
