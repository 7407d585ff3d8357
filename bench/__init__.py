"""What foreman costs, measured against a target without cost: see bench/README.md."""
