"""Stars in the place of a secret, wherever it stands in bytes that come in pieces.

The stars are as many as the secret has bytes, so that no length that was announced changes. A piece that may be the
beginning of the secret is kept until more is known.
"""


class Mask:
    """Looks through one stream of bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._stars = b"*" * len(secret)
        self._kept = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be let out now. An empty chunk is the end, and lets all out."""
        whole = (self._kept + chunk).replace(self._secret, self._stars)
        kept = self._beginning(whole) if chunk else 0
        self._kept = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]

    def text(self, text: str) -> str:
        """The same for a text that is whole."""
        secret = self._secret.decode()
        return text.replace(secret, "*" * len(secret))

    def _beginning(self, whole: bytes) -> int:
        """How long the beginning of the secret is that the bytes end in."""
        longest = min(len(self._secret) - 1, len(whole))
        return next((length for length in range(longest, 0, -1) if whole.endswith(self._secret[:length])), 0)
