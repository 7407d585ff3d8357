"""The command line (placeholder until the first slice stands)."""


def main() -> int:
    return 0
