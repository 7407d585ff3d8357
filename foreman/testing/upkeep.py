"""The routes that change or describe models: show, pull, push, create, copy, delete, blobs."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

from aiohttp import web

from foreman.testing.answers import library as bodies
from foreman.testing.answers.answer import Answer, gin, ndjson, nothing
from foreman.testing.gojson import Fields, Refusal, decode, encode
from foreman.testing.ledger import Entry
from foreman.testing.models import Library, StubModel, checked
from foreman.testing.residency import Residency

_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_STEPS: Final = 8
# The template and the parameters of a model.
_SMALL: Final = (1_700, 120)

Line = dict[str, Any]


class Upkeep:
    """Handlers over one library; `blobs` holds the digests that were uploaded, `parts` what cut pulls have left."""

    def __init__(self, library: Library, residency: Residency) -> None:
        self._library = library
        self._residency = residency
        self.blobs: set[str] = set()
        self.parts: dict[str, int] = {}

    def show(self, _: web.Request, entry: Entry) -> Answer:
        name = _named(entry, "model is required")
        model = self._library.find(name)
        if model is None:
            raise Refusal(404, f"model '{checked(name)}' not found")
        return gin(bodies.show(model))

    def pull(self, _: web.Request, entry: Entry) -> Answer:
        name = _named(entry, "invalid model name")
        checked(name)
        return _progress(decode(entry.body), self._pulled(self._library.find(name) or StubModel.parse(name)))

    def _pulled(self, model: StubModel) -> Iterator[Line]:
        yield {"status": "pulling manifest"}
        layers = layers_of(model)
        for digest, size in layers.items():
            yield from self._fetched(digest, size)
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        for digest in layers:
            self.parts.pop(digest, None)
        self._library.add(model)
        yield {"status": "success"}

    def _fetched(self, digest: str, size: int) -> Iterator[Line]:
        """A layer in steps, from where an earlier pull of it has left off."""
        line: Line = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size}
        there = self.parts.get(digest, 0)
        for step in range(_STEPS + 1):
            done = size * step // _STEPS
            if done >= there:
                self.parts[digest] = done
                yield line | ({"completed": done} if done else {})

    def push(self, _: web.Request, entry: Entry) -> Answer:
        model = self._library.find(_named(entry, "model is required"))
        return _progress(decode(entry.body), _pushed(model))

    def create(self, _: web.Request, entry: Entry) -> Answer:
        name = _named(entry, "invalid model name")
        fields = decode(entry.body)
        source = fields.get("from")
        known = self._library.find(source) if isinstance(source, str) else None
        model = StubModel.parse(name)
        if known is not None:
            model = dataclasses.replace(known, name=model.name, weights=known.blob, parent=known.name)
        elif not source and not fields.get("files"):
            raise Refusal(400, "neither 'from' or 'files' was specified")
        return _progress(fields, self._created(model, fields.get("quantize"), new=known is None))

    def _created(self, model: StubModel, quantize: object, *, new: bool) -> Iterator[Line]:
        if isinstance(quantize, str) and quantize:
            yield from _quantized(quantize, model.size)
        kind = "creating new layer" if new else "using existing layer"
        yield {"status": f"{kind} sha256:{model.digest}"}
        yield {"status": "writing manifest"}
        self._library.add(model)
        yield {"status": "success"}

    def copy(self, _: web.Request, entry: Entry) -> Answer:
        fields = decode(entry.body)
        names = {}
        for side in ("source", "destination"):
            name = fields.get(side)
            try:
                names[side] = checked(name if isinstance(name, str) else "")
            except Refusal as error:
                raise Refusal(400, f'{side} "{name or ""}" is invalid') from error
        source = self._library.find(names["source"])
        if source is None:
            raise Refusal(404, f'model "{fields["source"]}" not found')
        self._library.copy(source, names["destination"])
        return nothing()

    def delete(self, _: web.Request, entry: Entry) -> Answer:
        name = _named(entry, "model is required")
        try:
            checked(name)
        except Refusal as error:
            raise Refusal(400, f'name "{name}" is invalid') from error
        model = self._library.delete(name)
        if model is None:
            raise Refusal(404, f"model '{name}' not found")
        self._residency.unload(model)
        return nothing()

    def has_blob(self, request: web.Request, _: Entry) -> Answer:
        return nothing(200 if _digest(request) in self.blobs else 404)

    async def add_blob(self, request: web.Request, entry: Entry) -> Answer:
        """Reads a body of any size without keeping it."""
        expected, found = _digest(request), hashlib.sha256()
        async for part in request.content.iter_any():
            found.update(part)
        entry.body_sha256 = found.hexdigest()
        if expected in self.blobs:
            return nothing(200)
        got = f"sha256:{found.hexdigest()}"
        if got != expected:
            raise Refusal(400, f'digest mismatch, expected "{expected}", got "{got}"')
        self.blobs.add(expected)
        return nothing(201)


def layers_of(model: StubModel) -> dict[str, int]:
    """The layers a pull fetches, by digest: the weights, then what is small beside them. Together the model's size."""
    small = [size for size in _SMALL if size < model.size // 100]
    sizes = (model.size - sum(small), *small)
    return {hashlib.sha256(f"{model.digest} {n}".encode()).hexdigest(): size for n, size in enumerate(sizes)}


def _named(entry: Entry, missing: str) -> str:
    """The first of `model` and `name` that says something. Raises Refusal(400) with `missing`."""
    fields = decode(entry.body)
    for field in ("model", "name"):
        if isinstance(name := fields.get(field), str) and name.strip():
            entry.model = name
            return name
    raise Refusal(400, missing)


def _digest(request: web.Request) -> str:
    digest = request.match_info["digest"]
    if not _DIGEST.fullmatch(digest):
        raise Refusal(400, "invalid digest format")
    return digest.lower().replace("-", ":", 1)


def _quantized(quantize: str, size: int) -> Iterator[Line]:
    """In steps, under a digest of zeros: that of the layer is not known before it is made."""
    line: Line = {"status": f"quantizing F16 model to {quantize}", "digest": "0" * 19, "total": size}
    for step in range(_STEPS + 1):
        yield line | ({"completed": size * step // _STEPS} if step else {})


def _pushed(model: StubModel | None) -> Iterator[Line]:
    yield {"status": "retrieving manifest"}
    if model is None:
        yield {"error": "file does not exist"}
        return
    digest = model.digest
    layer = {"status": f"pushing {digest[:12]}", "digest": f"sha256:{digest}", "total": model.size}
    yield layer
    yield layer | {"completed": model.size}
    yield {"status": "pushing manifest"}
    yield {"status": "success"}


def _progress(fields: Fields, lines: Iterator[Line]) -> Answer:
    """The lines one by one, or the last of them as the one answer."""
    if fields.get("stream") is not False:
        return ndjson(lines)
    *_, last = lines
    if "error" in last:
        raise Refusal(500, last["error"])
    return Answer(200, "application/json", (encode(last),))
