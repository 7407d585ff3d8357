"""The parts of a run: each starts what it needs, asks, and returns what it measured."""
