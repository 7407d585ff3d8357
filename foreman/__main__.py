"""`python -m foreman` is `foreman`."""

import sys

from foreman.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
