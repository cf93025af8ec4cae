"""What only the running system knows is asked, and the answer lands on the right line."""

from pathlib import Path

from wsrelay.config import Checks
from wsrelay.config.model import ListenerConfig, PluginCall, PoolConfig

from .samples import FOLDER, WHOLE, errors_of, parsed, with_option


def test_the_balancers_refusal_stands_at_its_line() -> None:
    def refuse(call: PluginCall) -> None:
        raise ValueError(f"unknown balancer '{call.name}'; known: first")

    errors = errors_of(with_option("pool:chat", "balancer = x"), checks=Checks(balancer=refuse))
    assert errors == [
        "relay.ini:6: [pool:chat] balancer: unknown balancer 'x'; known: first",
    ]


def test_a_balancer_that_is_not_named_is_not_asked_about() -> None:
    asked: list[PluginCall] = []
    parsed(WHOLE, checks=Checks(balancer=asked.append))
    assert asked == []


def test_the_endpoints_refusal_stands_at_its_line() -> None:
    def refuse(endpoint: str) -> None:
        raise ValueError(f"no endpoint {endpoint}")

    errors = errors_of(WHOLE, checks=Checks(endpoint=refuse))
    assert errors == ["relay.ini:2: [listener:web] endpoint: no endpoint tcp:8080"]


def test_the_certificates_refusal_stands_at_its_line() -> None:
    asked: list[ListenerConfig] = []

    def refuse(listener: ListenerConfig) -> None:
        asked.append(listener)
        raise ValueError("they do not match")

    text = with_option("listener:web", "certificate = a.pem\nkey = b.pem\nmin_tls = 1.3")
    assert errors_of(text, checks=Checks(listener_tls=refuse)) == [
        "relay.ini:2: [listener:web] certificate: they do not match"
    ]
    (listener,) = asked
    assert (listener.certificate, listener.key) == (FOLDER / "a.pem", FOLDER / "b.pem")
    assert listener.min_tls == "1.3"


def test_the_refusal_of_a_folder_stands_at_its_line() -> None:
    def refuse(folder: Path) -> None:
        raise ValueError(f"there is no directory {folder}")

    text = WHOLE.replace("pool = chat", "static = www")
    assert errors_of(text, checks=Checks(static=refuse)) == [
        "relay.ini:4: [route:chat] static: there is no directory /etc/wsrelay/www"
    ]


def test_the_refusal_of_a_folder_of_certificates_stands_at_its_line() -> None:
    def refuse(listener: ListenerConfig) -> None:
        raise ValueError(f"{listener.certificates} is empty")

    text = with_option("listener:web", "certificates = certs")
    assert errors_of(text, checks=Checks(listener_tls=refuse)) == [
        "relay.ini:2: [listener:web] certificates: /etc/wsrelay/certs is empty"
    ]


def test_the_refusal_of_a_pools_tls_stands_at_its_first_tls_option() -> None:
    def refuse(pool: PoolConfig) -> None:
        raise ValueError(f"{pool.tls_ca} is not PEM")

    text = with_option("pool:chat", "max_fails = 1\ntls_ca = ca.pem\ntls_name = x")
    assert errors_of(text, checks=Checks(upstream_tls=refuse)) == [
        "relay.ini:7: [pool:chat] tls_ca: /etc/wsrelay/ca.pem is not PEM"
    ]
    assert errors_of(WHOLE, checks=Checks(upstream_tls=refuse)) == [
        "relay.ini:5: [pool:chat] None is not PEM"
    ]


def test_a_file_that_is_not_there_is_an_error_and_is_not_checked_further() -> None:
    asked: list[object] = []
    checks = Checks(
        file_exists=lambda path: path != FOLDER / "gone.pem",
        listener_tls=lambda *about: asked.append(about),
    )
    text = with_option("listener:web", "certificate = a.pem\nkey = gone.pem")
    assert errors_of(text, checks=checks) == [
        "relay.ini:3: [listener:web] key: there is no file /etc/wsrelay/gone.pem"
    ]
    assert asked == []


def test_an_authority_that_is_not_there_is_not_told_to_be_missing_in_the_file_too() -> None:
    checks = Checks(file_exists=lambda path: path != FOLDER / "ca.pem")
    lines = "certificate = a.pem", "client_ca = ca.pem", "client_certificate = required"
    assert errors_of(with_option("listener:web", "\n".join(lines)), checks=checks) == [
        "relay.ini:3: [listener:web] client_ca: there is no file /etc/wsrelay/ca.pem"
    ]
