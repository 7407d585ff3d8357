"""The processes of a run: the target, the ways to it, and where they run."""
