"""What a handler finds in the application, typed."""

from typing import Final

from aiohttp import web

from foreman.config import Settings
from foreman.engine.engine import Engine

ENGINE: Final = web.AppKey("ENGINE", Engine)
SETTINGS: Final = web.AppKey("SETTINGS", Settings)
