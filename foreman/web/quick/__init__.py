"""The short way for ordinary requests: answered on the connection itself, with aiohttp behind it for the rest."""
