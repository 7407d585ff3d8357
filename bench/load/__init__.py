"""`python -m bench load`: put any Ollama or foreman under load, within bounds."""
