import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import addresses
from foreman.core.addresses import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:11435", Address("127.0.0.1", 11435)),
        ("[::1]:8080", Address("::1", 8080)),
        (":0", Address("127.0.0.1", 0)),
        (" localhost:1 ", Address("localhost", 1)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
        ("box.lan:80", Address("box.lan", 80)),
    ],
)
def test_where_to_listen(text: str, address: Address) -> None:
    assert addresses.read_listen(text) == address


@pytest.mark.parametrize(
    "value",
    ["", "11435", "localhost", "localhost:", "::1:80", "[::1]", "[::1", "[box]:80", "a b:80", "x:65536", "x:-1",
     "http://x:80", "x:٣", "[::1%lo]:80", "[]:80", 11435, None, "-x:80"],
)  # fmt: skip
def test_what_is_nowhere_to_listen(value: object) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        addresses.read_listen(value)


@given(st.ip_addresses().map(str) | st.just("box.lan"), st.integers(0, 65535))
def test_a_shown_address_reads_back(host: str, port: int) -> None:
    assert addresses.read_listen(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LocalHost", "::ffff:127.0.0.1"])
def test_only_this_machine_reaches(host: str) -> None:
    assert Address(host, 1).loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "box.lan", "localhost.example.com", "::ffff:10.0.0.1", "0", "127.1"]
)
def test_others_may_reach(host: str) -> None:
    assert not Address(host, 1).loopback


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434"),
        ("https://Box.LAN/ollama/", "https://box.lan/ollama"),
        ("box:11434", "http://box:11434"),
        ("10.0.0.2:11434/prefix", "http://10.0.0.2:11434/prefix"),
        ("[::1]:11434", "http://[::1]:11434"),
        ("http://[fe80::1]", "http://[fe80::1]"),
        ("HTTP://x", "http://x"),
    ],
)
def test_targets(text: str, url: str) -> None:
    assert addresses.read_target(text) == url
    assert addresses.read_target(url) == url


@pytest.mark.parametrize(
    "value",
    ["", "box", "ftp://box", "http://", "http://:80", "http://x:0", "http://x:99999", "http://x:y", "http://x\ny",
     "http://x /", "http://[::1", "http://x?q", "http://x?", "http://x#", "http://u:p@x", "u@x:1", "http://x\\y",
     "unix:///x", "file://x", 11434, None, "http://u:1/w@x"],
)  # fmt: skip
def test_what_is_no_target(value: object) -> None:
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:11434"):
        addresses.read_target(value)


@pytest.mark.parametrize(
    "text", ["http://me:hunter2@box", "me:hunter2@box:1", "http://me:hun/hunter2@box", "http://a@hunter2@box"]
)
def test_no_password_is_shown(text: str) -> None:
    assert "hunter2" not in addresses.without_userinfo(text)
    assert "***@box" in addresses.without_userinfo(text)


def test_hosts() -> None:
    assert addresses.read_hosts("Box.lan, [::1],10.0.0.1") == ("box.lan", "::1", "10.0.0.1")


@pytest.mark.parametrize("value", ["*", "*.lan", "box:80", "http://box", "a b", "box/"])
def test_what_is_no_host(value: str) -> None:
    with pytest.raises(ValueError, match="host names"):
        addresses.read_hosts(value)


def test_origins() -> None:
    text = "http://Box.lan:3000/, chrome-extension://abc ,http://[::1]:80"
    assert addresses.read_origins(text) == ("http://box.lan:3000", "chrome-extension://abc", "http://[::1]:80")


@pytest.mark.parametrize("value", ["*", "http://*", "box.lan", "http://box/path", "http://", "null", "http://u@x"])
def test_what_is_no_origin(value: str) -> None:
    with pytest.raises(ValueError, match="origins"):
        addresses.read_origins(value)
