"""A stub of Ollama that is a real HTTP server: for tests, benchmarks and the demo."""

from foreman.testing.ledger import Ending, Entry, Ledger, Load
from foreman.testing.models import StubModel
from foreman.testing.remote import StubRemote
from foreman.testing.reply import expected_text
from foreman.testing.script import Die, Script, Terminal
from foreman.testing.stub import StubOllama

__all__ = [
    "Die",
    "Ending",
    "Entry",
    "Ledger",
    "Load",
    "Script",
    "StubModel",
    "StubOllama",
    "StubRemote",
    "Terminal",
    "expected_text",
]
