"""Answers with heartbeats in them."""

from typing import Any

SKY = [{"role": "user", "content": "Why is the sky blue?"}]
QUICK: dict[str, Any] = {"hold_seconds": 0.1, "heartbeat_seconds": 0.05, "max_attempts": 1}
