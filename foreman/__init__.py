"""foreman: a durable, drop-in queue in front of one Ollama server."""

__version__ = "0.1.0"
