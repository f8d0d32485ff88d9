"""Addresses: no secret of one is shown, and the machines that count as one's own."""

import pytest

from golf_nb_utils.addresses import below, is_link_local, is_own_machine, without_secrets

SECRET = "s3cret"
WITH_SECRETS = {
    f"https://me:{SECRET}@host/gpt2": "https://host/gpt2",
    f"https://{SECRET}@host:8080": "https://host:8080",
    f"https://me:a/{SECRET}@b:{SECRET}@host/gpt2/": "https://host/gpt2/",
    f"https://host/gpt2?sv=1&sig={SECRET}%3D": "https://host/gpt2",
    f"https://host/gpt2?{SECRET}": "https://host/gpt2",
    f"https://host/gpt2#access_token={SECRET}": "https://host/gpt2",
    f"HTTP://me:{SECRET}@[::1]:80/x?sig={SECRET}#{SECRET}": "HTTP://[::1]:80/x",
    f"me:{SECRET}@host/gpt2": "host/gpt2",
    f"Max retries exceeded with url: /x?sig={SECRET} (Caused by": "Max retries exceeded with url: /x (Caused by",
    f"('https://me:{SECRET}@a/x?y={SECRET}'): refused": "('https://a/x'): refused",
    f"more_urls='https://a:{SECRET}@h1 https://h2?sig={SECRET}', seed=1": "more_urls='https://h1 https://h2', seed=1",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WITH_SECRETS.items(), ids=range(len(WITH_SECRETS)))
def test_an_address_is_shown_without_its_secrets_wherever_it_stands(text, expected):
    assert without_secrets(text) == expected
    assert SECRET not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "https://host:8080/gpt2/124M/vocab.bpe", "http://127.0.0.1:11434/", "[Errno 111] Connection refused",
        "no parameter 'epoch'; did you mean 'epochs'?", "what? a = b", "jane@example.org is no name", "/a folder [1]/#2/x", "line 1\n  line 2\n",
    ],
)  # fmt: skip
def test_what_holds_no_secret_stays_as_it_is(text):
    assert without_secrets(text) == text


def test_a_long_text_takes_no_long_time():
    assert without_secrets(":" + "@" * 300_000 + "x") == "x"
    assert without_secrets("?" * 300_000) == "?" * 300_000


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://host", "https://host/124M/x"),
        ("https://host/gpt2/", "https://host/gpt2/124M/x"),
        ("https://me:p@host/gpt2?sig=a%2Fb", "https://me:p@host/gpt2/124M/x?sig=a%2Fb"),
    ],
)
def test_what_lies_below_an_address_keeps_its_signature_at_the_end(base, expected):
    assert below(base, "124M", "x") == expected


def test_what_is_no_address_has_nothing_below():
    with pytest.raises(ValueError, match="IPv6"):
        below("http://[::1", "x")


OWN = ["localhost", "LOCALHOST.", "ollama.localhost", "127.0.0.1", "127.1.2.3", "127.1", "::1", "[::1]", "0.0.0.0", "::", "::ffff:127.0.0.1"]  # fmt: skip
OTHERS = ["", "localhost.example", "mylocalhost", "10.0.0.0", "100.0.0.0", "192.168.1.2", "fe80::1", "gpu-box", "host.docker.internal"]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_an_own_address_is_known_in_each_form(host):
    assert is_own_machine(host)


@pytest.mark.parametrize("host", OTHERS)
def test_an_address_of_another_machine_is_none_of_this_one(host):
    assert not is_own_machine(host)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1"],
)  # fmt: skip
def test_a_link_local_address_is_known_in_each_form(host):
    assert is_link_local(host)
    assert not is_link_local("169.253.0.1")
    assert not is_link_local("example.org")
