"""Endpoints that are slow, busy, wrong or lying: what is asked again, what is an error, and what it says."""

import time

import pytest
from endpoint_server import Behaviour, serve

from ppm.errors import EndpointError
from ppm.evaluation.endpoint import Client, Endpoint, messages_of


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key")


def chat(behaviour, **settings):
    with serve(behaviour) as url:
        return Client(Endpoint(url, **{"retries": 2, "timeout": 5.0, **settings})).chat("m", messages_of("hello"))


def test_an_answer_comes_with_its_model_and_its_cost():
    behaviour = Behaviour()
    reply = chat(behaviour)
    assert (reply.text, reply.model, reply.finish) == ("an answer to hello", "a-teacher", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)
    [(path, body, headers)] = behaviour.requests
    assert path == "/v1/chat/completions"
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    assert {key.lower(): value for key, value in headers.items()}["authorization"] == "Bearer a key"


@pytest.mark.parametrize(
    "faults", [[429], [500, 503], ["broken"], ["html", "no choices"], ["list"], ["cut"], [429, "broken"]]
)
def test_what_passes_is_asked_again(faults):
    behaviour = Behaviour(faults=list(faults))
    assert chat(behaviour).text == "an answer to hello"
    assert len(behaviour.requests) == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (429, "429", "rate limit"),
        (503, "503", "again later"),
        (401, "401", "key"),
        (404, "404", "model's name"),
        ("broken", "don't follow the protocol", "/v1"),
        ("html", "don't follow the protocol", "/v1"),
        ("huge", "don't follow the protocol", "/v1"),
        ("list", "don't follow the protocol", "/v1"),
    ],
)
def test_what_does_not_pass_is_one_clear_error(fault, message, hint):
    with pytest.raises(EndpointError, match=message) as caught:
        chat(Behaviour(always=fault))
    assert hint in caught.value.hint
    assert "127.0.0.1" in caught.value.context


def test_a_server_that_stalls_is_given_up():
    behaviour = Behaviour(always="stall", stall=1.0)
    with pytest.raises(EndpointError, match=r"no answer within 0.2 seconds, 2 times"):
        chat(behaviour, timeout=0.2, retries=1)
    assert len(behaviour.requests) == 2


@pytest.mark.parametrize(
    ("fault", "message", "timeout"),
    [("drip", "incomplete after 0.2 seconds", 0.2), ("endless", "more than 4000000 bytes", 30.0)],
)
def test_an_answer_without_end_is_given_up(fault, message, timeout):
    behaviour = Behaviour(always=fault)
    with pytest.raises(EndpointError, match=message):
        chat(behaviour, timeout=timeout)
    assert len(behaviour.requests) == 3


@pytest.mark.parametrize("fault", ["empty", "null"])
def test_an_answer_without_text_is_empty(fault):
    assert chat(Behaviour(faults=[fault])).text == ""


def test_nobody_there_is_one_clear_error():
    with serve(Behaviour()) as url:
        pass
    with pytest.raises(EndpointError, match="can't be reached"):
        Client(Endpoint(url, retries=0)).chat("m", messages_of("hello"))


def test_without_a_key_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    behaviour = Behaviour()
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        chat(behaviour)
    assert behaviour.requests == []


def test_a_rate_limit_is_kept_over_all_threads():
    behaviour = Behaviour()
    with serve(behaviour) as url:
        client = Client(Endpoint(url, requests_per_minute=600, concurrency=4))
        started = time.monotonic()
        found = dict(client.each(lambda i: client.chat("m", messages_of(str(i))).text, range(6)))
        took = time.monotonic() - started
    assert found == {i: f"an answer to {i}" for i in range(6)}
    assert took >= 0.5


def test_the_first_error_ends_it_and_what_came_before_is_handed_on():
    behaviour = Behaviour()
    answered = []
    with serve(behaviour) as url:
        client = Client(Endpoint(url, concurrency=1, retries=0))

        def ask(i):
            if i == 3:
                behaviour.always = 401
            return client.chat("m", messages_of(str(i))).text

        with pytest.raises(EndpointError, match="401"):
            answered.extend(client.each(ask, range(50)))
    assert len(behaviour.requests) < 10


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."


def test_a_model_that_wants_max_completion_tokens_is_asked_so_then_and_later():
    behaviour = Behaviour(refuses={"max_tokens": MAX_TOKENS})
    with serve(behaviour) as url:
        client = Client(Endpoint(url, concurrency=4))
        found = dict(client.each(lambda i: client.chat("m", messages_of(str(i)), max_tokens=9).text, range(8)))
        refused = sum("max_tokens" in body for _, body, _ in behaviour.requests)
        client.chat("m", messages_of("more"), max_tokens=9)
    assert len(found) == 8
    assert 1 <= refused <= 4
    assert behaviour.requests[-1][1]["max_completion_tokens"] == 9
    assert len(behaviour.requests) == 8 + refused + 1


def test_a_setting_is_left_out_only_where_it_is_optional():
    behaviour = Behaviour(refuses={"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS})
    with serve(behaviour) as url:
        client = Client(Endpoint(url))
        settings = {"temperature": 0, "max_tokens": 9}
        assert client.chat("m", messages_of("x"), optional=("temperature",), **settings).text == "an answer to x"
        with pytest.raises(EndpointError, match="temperature"):
            Client(Endpoint(url)).chat("m", messages_of("x"), **settings)


SECRET = "a-secret-of-mine-123"


@pytest.mark.parametrize(
    "key",
    [
        f"{SECRET}\r", f"{SECRET}\n", f" {SECRET}", f"\u201c{SECRET}\u201d", f'"{SECRET}"', f"\u043a{SECRET}",
        f"{SECRET}\x1b",
    ],
)  # fmt: skip
def test_a_key_that_no_key_is_is_refused_and_not_shown(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    behaviour = Behaviour()
    with pytest.raises(EndpointError, match="characters that a key can't have") as caught:
        chat(behaviour)
    assert SECRET not in str(caught.value)
    assert behaviour.requests == []


def test_a_key_that_a_server_repeats_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(EndpointError, match="bad key") as caught:
        chat(Behaviour(refuses={"model": f"bad key {SECRET} (Bearer {SECRET})"}))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:port/v1", "http://127.0.0.1:99999/v1", "127.0.0.1:8000/v1", "nonsense", "ftp://127.0.0.1/v1",
        "http://", "http://[::1", "http://127.0.0.1:1/v1\r", "http://a b/v1", "http://\x00/",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_told_before_anything_is_asked(address):
    with pytest.raises(EndpointError, match="is not an address"):
        Client(Endpoint(address)).prepare()


@pytest.mark.parametrize("proxy", ["socks5://me:pass-word@127.0.0.1:1", "nonsense://me:pass-word@x", "http://[::1"])
def test_a_proxy_that_can_not_be_used_is_told_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(EndpointError, match="the proxy that ALL_PROXY names") as caught:
        Client(Endpoint("http://192.0.2.1/v1")).prepare()
    assert "pass-word" not in str(caught.value)


def test_a_password_in_an_address_is_not_shown():
    with serve(Behaviour(always=404)) as url, pytest.raises(EndpointError) as caught:
        Client(Endpoint(url.replace("//", "//me:pass-word@"))).chat("m", messages_of("x"))
    assert "pass-word" not in str(caught.value)
    assert "127.0.0.1" in caught.value.context
