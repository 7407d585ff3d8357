"""From times to figures: pure arithmetic, the budget, and how both are shown."""
