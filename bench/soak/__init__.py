"""The soak: foreman under a mixed load for a while, restarted and its target too, and whether it stays as it was."""
