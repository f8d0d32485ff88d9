"""Requests to hosts that want to go on for ever, lead astray, or say what cannot be parsed."""

import contextlib
import os
import re
import socket
import ssl
import threading
import time

import hosts
import pytest
import requests
import trustme
from hosts import Host

from golf_nb_utils import network
from golf_nb_utils.network import ask, innermost, proxy_of

PATH, CONTENT = "/x", b"content" * 100
PATIENT, QUICK = (10, 10), (10, 0.3)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)


@pytest.fixture
def host():
    with Host({PATH: CONTENT}) as host:
        yield host


@pytest.fixture
def serve():
    """A function that starts a server of raw bytes: `send(sendall, pause)` is what it says to each request."""
    ended, servers, received = threading.Event(), [], []

    def start(send):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer(connection):
            with connection, contextlib.suppress(OSError):
                asked = connection.recv(65536)
                # A body may come in a packet of its own.
                length = re.search(rb"Content-Length: (\d+)", asked)
                whole = asked.find(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
                while len(asked) < whole:
                    asked += connection.recv(65536)
                received.append(asked)
                send(connection.sendall, ended.wait)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=server.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}{PATH}"

    start.received = received
    yield start
    ended.set()
    for server in servers:
        server.close()


def body_of(url, timeout=PATIENT, at_most=10_000, method="GET", **options):
    with ask(method, url, timeout, **options) as reply:
        return reply.read(at_most)


def chunks_of(url, timeout=PATIENT, n_bytes=100):
    with ask("GET", url, timeout) as reply:
        return list(reply.chunks(n_bytes))


def refused(url, match=None, read=body_of, **options):
    """The request fails, in one line, long before the patient would give up."""
    started = time.monotonic()
    with pytest.raises(requests.RequestException, match=match) as caught:
        read(url, **options)
    assert time.monotonic() - started < 8
    text = innermost(caught.value)
    assert text.isprintable()
    assert len(text) < 300
    return text


def test_the_body_is_read_whole_or_in_chunks(host):
    assert body_of(host.url + PATH) == CONTENT
    assert b"".join(chunks_of(host.url + PATH)) == CONTENT
    assert {len(chunk) for chunk in chunks_of(host.url + PATH)} == {100}


# For ever.

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


def byte_by_byte(beginning, letter=b"a", wait=0.05):
    """A byte every now and then, so that no single wait is long."""

    def send(sendall, pause):
        sendall(beginning)
        while not pause(wait):
            sendall(letter)

    return send


def endless(beginning, more):
    def send(sendall, pause):
        sendall(beginning)
        while True:
            sendall(more)

    return send


FOR_EVER = {
    "status": byte_by_byte(b"HTTP/1.1 "), "header": byte_by_byte(b"HTTP/1.1 200 OK\r\nX: "),
    "body": byte_by_byte(BEGUN), "body without a length": byte_by_byte(b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunk size": byte_by_byte(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    "go on": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": lambda sendall, pause: pause(20), "body of a redirect": endless(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"a" * 65536),
}  # fmt: skip


@pytest.mark.parametrize("read", [body_of, chunks_of])
@pytest.mark.parametrize("send", FOR_EVER.values(), ids=FOR_EVER)
def test_a_host_that_goes_on_for_ever_is_hung_up_on(serve, send, read):
    refused(serve(send), "timed out|redirects", read, timeout=QUICK)


def test_encrypted_too():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with contextlib.suppress(OSError):
                connection = context.wrap_socket(server.accept()[0], server_side=True)
                with connection:
                    connection.recv(65536)
                    for _ in range(200):
                        connection.sendall(b"HTTP/1.1 200 OK\r\n"[:1])
                        time.sleep(0.05)

        threading.Thread(target=answer, daemon=True).start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        with authority.cert_pem.tempfile() as bundle:
            refused(url, "timed out", verify=bundle, timeout=QUICK)


def test_each_chunk_has_the_whole_time_and_what_is_done_with_it_takes_none(serve):
    """Four chunks in more than the time limit, and a consumer that is slower than it."""

    def send(sendall, pause):
        sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
        for _ in range(4):
            pause(0.3)
            sendall(b"a" * 100)

    url = serve(send)
    with ask("GET", url, (10, 1)) as reply:
        for n, chunk in enumerate(reply.chunks(100)):
            assert chunk == b"a" * 100
            if n == 0:
                time.sleep(1.1)
    refused(url, "timed out", timeout=(10, 1))


def test_a_chunk_that_is_too_slow_keeps_those_before_it(serve):
    def send(sendall, pause):
        sendall(BEGUN + b"a" * 100)
        byte_by_byte(b"")(sendall, pause)

    with ask("GET", serve(send), QUICK) as reply:
        chunks = reply.chunks(100)
        assert next(chunks) == b"a" * 100
        with pytest.raises(requests.Timeout):
            next(chunks)


def test_nothing_is_left_of_a_request(host):
    before = threading.active_count()
    body_of(host.url + PATH)
    deadline = time.monotonic() + 5
    while [t for t in threading.enumerate() if "_watch" in t.name]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # The host's own thread may still be there.
    assert threading.active_count() <= before + 1


# Too much.


def test_a_body_is_read_up_to_a_bound_also_where_it_comes_packed(serve):
    import zlib

    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b"a" * 10_000_000) + packer.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    refused(serve(lambda sendall, pause: sendall(head + bomb)), "more than 10,000 bytes")
    refused(serve(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536)), "more than 10,000 bytes")


def test_a_body_that_is_not_packed_as_it_says_is_that_hosts_failure(serve):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    refused(serve(lambda sendall, pause: sendall(head)), "decod|header")


# What cannot be parsed.

LOCATIONS = (
    b"http://[::1", b"http://[::1]:x/", b"http://a:99999999/", b"http://\xff\xfe/", b"http://" + b"a" * 70 + b".b/", b"http://a..b/",
    b"//[", b"ftp://127.0.0.1/x", b"file:///etc/passwd", b"http://", b"http:///x", b"javascript:1", b"http://x y/",
)  # fmt: skip
HEADERS = (
    b"Content-Length: 7\r\nContent-Length: 8", b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Content-Length: " + b"9" * 5000,
    b"Set-Cookie: a=b; expires=Thu, 01 Jan 99999 00:00:00 GMT; max-age=1e999", b"X" * 70_000, b"a: b\r\n" * 200,
)  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS, ids=range(len(LOCATIONS)))
def test_a_redirect_to_what_is_no_address_is_that_hosts_failure(serve, location):
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location
    refused(serve(lambda sendall, pause: sendall(head)))


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_cannot_be_parsed_are_that_hosts_failure(serve, header):
    url = serve(
        lambda sendall, pause: sendall(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n4\r\nabcd\r\n" % header)
    )
    with contextlib.suppress(requests.RequestException):
        body_of(url)


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http://[::1", "ftp://127.0.0.1", "http://127.0.0.1:99999999/", "http://a..b/", "\ud800", "a b"]
)  # fmt: skip
def test_what_is_no_address_is_one_kind_of_error(url):
    refused(url)
    assert proxy_of(url) == ""


# Redirects.


def test_a_redirect_is_followed_with_its_method_and_body(host, serve):
    found = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    target = serve(lambda sendall, pause: sendall(found))
    moved = f"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: {target}\r\n\r\n".encode()
    url = serve(lambda sendall, pause: sendall(moved))
    assert body_of(url, method="POST", data="asked") == b"ok"
    for request in serve.received:
        assert request.startswith(b"POST /x ")
        assert request.endswith(b"asked")
    assert len(serve.received) == 2
    host.fail(PATH, hosts.redirect("/y"))
    host.files["/y"] = b"there"
    assert body_of(host.url + PATH) == b"there"


def test_redirects_end(host):
    host.fail(PATH, hosts.redirect(host.url + PATH))
    refused(host.url + PATH, "more than 10 redirects")
    assert len(host.requests) == network.MAX_REDIRECTS + 1


def test_no_redirect_leads_from_https_to_http(host):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Host({PATH: CONTENT}, tls=context) as secure, authority.cert_pem.tempfile() as bundle:
        for target in (host.url + PATH, f"HTTP://{host.url.removeprefix('http://')}/y?sig=s3cret"):
            secure.fail(PATH, hosts.redirect(target), 1)
            text = refused(secure.url + PATH, "redirect from https to http", verify=bundle)
            assert "s3cret" not in text
        assert host.requests == []
        # The other way, and within https, it may.
        host.fail(PATH, hosts.redirect(secure.url + PATH))
        assert body_of(host.url + PATH, verify=bundle) == CONTENT
        secure.fail(PATH, hosts.redirect("/y"))
        secure.files["/y"] = b"there"
        assert body_of(secure.url + PATH, verify=bundle) == b"there"


@pytest.mark.parametrize(
    "host_name", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[fe80::1]", "[::ffff:169.254.169.254]"]
)  # fmt: skip
def test_no_redirect_leads_to_a_link_local_address(host, monkeypatch, host_name):
    connections = []
    connect = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda *address: connections.append(address) or connect(*address)
    )
    host.fail(PATH, hosts.redirect(f"http://{host_name}/latest/meta-data"))
    refused(host.url + PATH, "redirect to the link-local address")
    assert len(connections) == 1


def test_nor_by_a_name_that_means_one(host, monkeypatch):
    """The address of a name is known once the connection stands; that of this one is said to be link-local."""
    with Host({PATH: b"credentials"}) as metadata:
        port = int(metadata.url.rpartition(":")[2])
        find = socket.socket.getpeername

        def peer(self):
            name, of = find(self)[:2]
            return ("169.254.169.254" if of == port else name), of

        monkeypatch.setattr(socket.socket, "getpeername", peer)
        host.fail(PATH, hosts.redirect(f"http://localhost:{port}{PATH}"))
        refused(host.url + PATH, "redirect to the link-local address 169.254.169.254")
        assert metadata.requests == []


def test_a_link_local_address_of_ones_own_choice_may_redirect(host, monkeypatch):
    monkeypatch.setattr(socket.socket, "getpeername", lambda self: ("169.254.1.2", 80))
    host.fail(PATH, hosts.redirect("/y"))
    host.files["/y"] = b"there"
    assert body_of(host.url + PATH) == b"there"


# Proxies.


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_this_machines_own_addresses_are_asked_without_a_proxy(host, monkeypatch, name):
    with Host({PATH: b"by the proxy"}) as proxy:
        monkeypatch.setenv(name, proxy.url.replace("//", "//me:s3cret@"))
        for own in (host.url, host.url.replace("127.0.0.1", "localhost")):
            assert body_of(own + PATH) == CONTENT
            assert proxy_of(own) == ""
        assert body_of(f"http://gpu-box{PATH}") == b"by the proxy"
        assert proxy_of("http://gpu-box") == proxy.url
        monkeypatch.setenv("no_proxy", "gpu-box")
        assert proxy_of("http://gpu-box") == ""


# What is said.


def test_an_error_is_short_printable_and_without_secrets():
    inner = OSError("\x1b[2J https://me:s3cret@host/x?sig=s3cret " + "a" * 1000)
    text = innermost(requests.ConnectionError(inner))
    assert len(text) < 210
    assert text.isprintable()
    assert "s3cret" not in text
    assert innermost(ValueError()) == "ValueError"
