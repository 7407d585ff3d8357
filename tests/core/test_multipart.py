"""Forms as real clients write them, and the odd ones Go reads."""

import os
import time

import pytest

from foreman.core.body import RequestBody
from foreman.core.errors import BadRequest
from foreman.core.multipart import read_multipart

TYPE = "multipart/form-data; boundary=XX"


def part(value: bytes, *, name: str = "model", more: str = "", newline: bytes = b"\r\n") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"{more}'.encode()
    return b"--XX" + newline + head + newline + newline + value + newline


FILE = part(b"RIFF\r\n--X\r\n\r\n--XXY\r\n--XX-\x00", name="file", more='; filename="a.wav"\r\nContent-Type: audio/wav')
END = b"--XX--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (TYPE, part(b"m") + FILE + END),
        (TYPE, FILE + part(b"m") + END),
        (TYPE, FILE + part(b"m") + b"--XX--"),
        (TYPE, b"preamble\r\n" + part(b"m") + END + b"epilogue"),
        (TYPE, part(b"m") + part(b"other") + END),
        (TYPE, part(b"other", more='; filename="model.txt"') + part(b"m") + END),
        (TYPE, part(b"m", newline=b"\n") + b"--XX--\n"),
        (TYPE, part(b"x", name="Model") + part(b"m", more="\r\nContent-Type: text/plain") + END),
        (TYPE, part(b"m").replace(b"--XX\r\n", b"--XX \t\r\n") + END),
        (TYPE, part(b"m").replace(b'"model"', b"model") + END),
        (TYPE, part(b"m").replace(b"Disposition", b"DISPOSITION").replace(b"; name", b";\r\n name") + END),
        ('Multipart/Form-Data; charset=utf-8; Boundary="XX"', part(b"m") + END),
        ('multipart/form-data; boundary="a b:c"', (part(b"m") + END).replace(b"XX", b"a b:c")),
    ],
)
def test_the_model_is_found(content_type: str, body: bytes) -> None:
    assert read_multipart(content_type, body) == RequestBody("m")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (TYPE, FILE + END),
        (TYPE, part(b"") + part(b"m") + END),
        (TYPE, part(b"m", more='; filename="x"') + END),
        (TYPE, part(b"m")),
        (TYPE, b"--XX\r\nm\r\n" + END),
        (TYPE, b"--XX\r\n\r\nm\r\n" + END),
        (TYPE, END + part(b"m") + END),
        (TYPE, b""),
        (TYPE, b"--XX"),
        (TYPE, b"junk --XX\r\n"),
        ("multipart/form-data", part(b"m") + END),
        ("multipart/form-data; boundary=", part(b"m") + END),
        ("multipart/mixed; boundary=XX", part(b"m") + END),
        ("application/json", b'{"model":"m"}'),
        ("", part(b"m") + END),
        ("multipart/form-data; boundary=YY", part(b"m") + END),
    ],
)
def test_no_model_is_found(content_type: str, body: bytes) -> None:
    assert read_multipart(content_type, body) is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (TYPE, part(b"x", name="other") * 1001 + part(b"m") + END),
        (TYPE, part(b"m", more=";" * 3000) + END),
        (TYPE, part(b"x", name="other", more="\r\nX-Y: " + "z" * 3000) + part(b"m") + END),
        (TYPE + ";" * 3000, part(b"m") + END),
    ],
    ids=["many parts", "long head", "long head of another", "long type"],
)
def test_a_form_that_would_take_too_long_is_refused_and_not_passed_by(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_multipart(content_type, body)


def test_a_value_keeps_its_inner_newlines_and_odd_bytes() -> None:
    assert read_multipart(TYPE, part(b" a\r\nb\xff\r\n") + END) == RequestBody(" a\r\nb\ufffd\r\n")


def test_a_big_file_costs_little_time() -> None:
    body = part(os.urandom(1 << 20) * 24, name="file", more='; filename="a.wav"') + part(b"m") + END
    began = time.process_time()
    assert read_multipart(TYPE, body) == RequestBody("m")
    assert time.process_time() - began < 1.0
