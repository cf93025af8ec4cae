"""Who is let in with a token, where it may be, and what becomes of what it says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.policies.samples import NOW, SECRET, jwk, jwks, private, public_pem, token
from tests.policies.support import FakeAgent, handshake, header_of, result_of
from wsrelay.interfaces import Admit, CannotTell, Deny, IAccessPolicy
from wsrelay.policies.fetched import FIRST_RETRY, MOST_READ, RETRY
from wsrelay.policies.jwt import YEAR, Jwt
from wsrelay.policies.keys import from_jwks, from_secret
from wsrelay.policies.tokens import BadToken, Rules, head_of, texts_of, verify

URL = "https://issuer.test/keys?x=1"
KINDS = ("rsa", "secp256r1", "secp384r1", "secp521r1", "secp256k1", "ed25519", "ed448")


@define(eq=False)
class Scene:
    options: Mapping[str, str]
    clock: Clock = field(factory=Clock)
    agent: FakeAgent = field(factory=FakeAgent)
    now: float = NOW
    policy: Jwt = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.policy = Jwt(self.clock, wall_clock=lambda: self.now, agent=self.agent, **self.options)

    def ask(self, *fields: tuple[str, str], **facts: Any) -> Any:
        return self.policy.admit(handshake(*fields, **facts))

    def bring(self, text: str) -> Any:
        return self.ask(("Authorization", f"Bearer {text}"))

    def lets_in(self, text: str) -> bool:
        return isinstance(result_of(self.bring(text)), Admit)

    def complaint(self, text: str) -> str:
        """Return what a denial of a token says, after a look at its challenge."""
        denial = result_of(self.bring(text))
        assert isinstance(denial, Deny)
        assert denial.status == 401
        said = f'Bearer realm="wsrelay", error="invalid_token", error_description="{denial.body}"'
        assert header_of(denial, "WWW-Authenticate") == said
        return str(denial.body)


@pytest.fixture
def secret(tmp_path: Path) -> str:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    return str(tmp_path / "secret")


@pytest.fixture
def scene(secret: str) -> Scene:
    return Scene({"secret_file": secret})


def unsigned(head: Any, claims: Any, signature: bytes = b"x") -> str:
    parts = [json.dumps(head).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts)


def test_it_is_a_policy(scene: Scene) -> None:
    assert verifyObject(IAccessPolicy, scene.policy)


# signatures


def test_a_good_token_lets_in_until_it_expires(scene: Scene) -> None:
    answer = scene.bring(token({"sub": "ada"}))
    assert answer == Admit(headers=[], tags=[], expires_at=NOW + 60 + 10)


def test_without_a_token_there_is_a_challenge_without_an_error(scene: Scene) -> None:
    for fields in ((), (("Authorization", "Basic YTpi"),)):
        denial = scene.ask(*fields)
        assert denial.status == 401
        assert header_of(denial, "WWW-Authenticate") == 'Bearer realm="wsrelay"'


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_public_keys_are_good(kind: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(public_pem(kind))
    scene = Scene({"key_file": str(tmp_path / "key.pem")})
    algorithm = {
        "rsa": "PS256",
        "secp256r1": "ES256",
        "secp384r1": "ES384",
        "secp521r1": "ES512",
        "secp256k1": "ES256K",
    }.get(kind, "EdDSA")
    good = token({}, private(kind), algorithm)
    assert scene.lets_in(good)
    head, _, signature = good.split(".")
    other = token({"sub": "root"}, private(kind), algorithm).split(".")[1]
    assert scene.complaint(f"{head}.{other}.{signature}").endswith("a key that is known.")


def test_a_token_of_another_key_is_refused(scene: Scene) -> None:
    assert scene.complaint(token(key=SECRET[::-1])) == (
        "The token is not signed by a key that is known."
    )


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS257", "RS256", "hs256"])
def test_other_algorithms_than_the_keys_are_refused(scene: Scene, algorithm: str) -> None:
    text = unsigned({"alg": algorithm, "typ": "JWT"}, {"exp": NOW + 60})
    assert scene.complaint(text) == "The token is not signed by a key that is known."


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """What everybody knows must not sign (RFC 8725 section 2.1)."""
    pem = public_pem("rsa")
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "keys.json").write_bytes(jwks(jwk("rsa", kid="a")))
    scenes = [
        Scene({"key_file": str(tmp_path / "key.pem")}),
        Scene({"jwks_file": str(tmp_path / "keys.json")}),
    ]
    parts = unsigned({"alg": "HS256", "typ": "JWT"}, {"exp": NOW + 60}).rpartition(".")[0]
    for key in (pem, pem.strip(), jwks(jwk("rsa"))):
        signature = hmac.new(key, parts.encode(), hashlib.sha256).digest()
        encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        for scene in scenes:
            assert "not signed" in scene.complaint(f"{parts}.{encoded}")


def test_an_operator_may_allow_fewer_algorithms(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(public_pem("rsa"))
    scene = Scene({"key_file": str(tmp_path / "key.pem"), "algorithms": "PS256,PS512"})
    assert scene.lets_in(token({}, private("rsa"), "PS512"))
    assert "not signed" in scene.complaint(token({}, private("rsa"), "RS256"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        f"{unsigned({'alg': 'HS256'}, {})}=",
        unsigned({"alg": "HS256"}, {}).rpartition(".")[0] + ".",
        unsigned([], {}),
        unsigned({}, {}),
        unsigned({"alg": 1}, {}),
        unsigned({"alg": "HS256", "kid": 1}, {}),
        unsigned({"alg": "HS256", "crit": ["x"], "x": 1}, {}),
        "é.é.é",
        "a" * 9000,
        base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=") + ".a.b",
    ],
)
def test_what_is_malformed_is_refused(scene: Scene, text: str) -> None:
    if text:
        assert scene.complaint(text) == "The token is malformed."
    else:
        assert result_of(scene.bring(text)).status == 401


def test_claims_that_are_no_object_are_refused(scene: Scene) -> None:
    for claims in ([], 1, "x", None):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        signature = hmac.new(SECRET, f"{head}.{body}".encode(), hashlib.sha256).digest()
        encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        assert scene.complaint(f"{head}.{body}.{encoded}") == "The token is malformed."


def test_an_extension_that_is_critical_and_unknown_is_refused(scene: Scene) -> None:
    text = token({}, crit=["exp-policy"], **{"exp-policy": 1})
    assert scene.complaint(text) == "The token is malformed."


# The example of RFC 7515, appendix A.1, with its key.
RFC_KEY = {
    "kty": "oct",
    "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
}
RFC_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)


def test_the_example_of_the_standard_is_good_while_it_lasts() -> None:
    keys = from_jwks(jwks(RFC_KEY), secrets=True)
    claims = verify(RFC_TOKEN, keys, Rules(("joe",), (), ("exp",)), 1300819379)
    assert texts_of(claims, "http://example.com/is_root") == ["true"]
    with pytest.raises(BadToken, match="has expired"):
        verify(RFC_TOKEN, keys, Rules(), 1300819380)


FOREIGN = json.loads(Path(__file__).with_name("foreign_tokens.json").read_text("utf-8"))


@pytest.mark.parametrize("name", FOREIGN["tokens"])
def test_tokens_of_others_are_good_with_the_keys_that_they_publish(name: str) -> None:
    keys = from_jwks(jwks(*FOREIGN["keys"]), secrets=True)
    rules = Rules(("https://issuer.test/",), ("chat",), ("exp", "sub"))
    assert texts_of(verify(FOREIGN["tokens"][name], keys, rules, NOW + 59), "sub") == ["ada"]
    with pytest.raises(BadToken, match="has expired"):
        verify(FOREIGN["tokens"][name], keys, rules, NOW + 60)
    others = [key for key in keys if key.kid != head_of(FOREIGN["tokens"][name])[1]]
    with pytest.raises(BadToken, match="not signed"):
        verify(FOREIGN["tokens"][name], others, rules, NOW)


@given(
    st.text(max_size=60) | st.from_regex(r"[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}", fullmatch=True)
)
def test_no_text_but_a_token_is_one(text: str) -> None:
    with pytest.raises(BadToken):
        verify(text, from_secret(SECRET), Rules(), NOW)


@given(st.integers(0, 2000), st.integers(1, 255))
def test_no_letter_of_a_token_may_change(place: int, step: int) -> None:
    good = token({"sub": "ada"})
    place %= len(good) - 1  # the last letter holds bits that nobody looks at
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    other = letters[(letters.index(good[place]) + step) % len(letters)]
    changed = good[:place] + other + good[place + 1 :]
    if changed != good:
        with pytest.raises(BadToken):
            verify(changed, from_secret(SECRET), Rules(), NOW)


# what a token has to say


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": NOW - 11}, "The token has expired."),
        ({"exp": NOW - 10}, "The token has expired."),
        ({"exp": NOW - 9}, None),
        ({"nbf": NOW + 11}, "The token is not valid yet."),
        ({"nbf": NOW + 10}, None),
        ({"iat": NOW + 1000}, None),
        ({"exp": NOW + 60.5}, None),
        ({"exp": None}, "The token has no exp."),
        ({"exp": "1800000060"}, "The token is malformed."),
        ({"exp": True}, "The token is malformed."),
        ({"exp": [1]}, "The token is malformed."),
        ({"exp": -1}, "The token is malformed."),
        ({"exp": 1e300}, "The token is malformed."),
        ({"exp": float("inf")}, "The token is malformed."),
        ({"exp": float("nan")}, "The token is malformed."),
        ({"exp": 10**400}, "The token is malformed."),
        ({"nbf": "soon"}, "The token is malformed."),
        ({"aud": "chat"}, "The token is for another audience."),
        ({"sub": 7}, None),
        ({"jti": 7}, None),
    ],
)
def test_times_and_audiences(scene: Scene, claims: dict[str, Any], said: str | None) -> None:
    text = token(claims)
    if said is None:
        assert scene.lets_in(text)
    else:
        assert scene.complaint(text) == said


def test_issuers_and_audiences_and_claims_that_must_be_there(secret: str) -> None:
    scene = Scene(
        {
            "secret_file": secret,
            "issuer": "https://a.test/,https://b.test/",
            "audience": "chat,news",
            "require": "exp,sub",
        }
    )
    good = {"iss": "https://b.test/", "aud": "news", "sub": "ada"}
    assert scene.lets_in(token(good))
    assert scene.lets_in(token({**good, "aud": ["other", "chat"]}))
    for change, said in (
        ({"iss": "https://c.test/"}, "The token is of another issuer."),
        ({"iss": "https://a.test"}, "The token is of another issuer."),
        ({"iss": None}, "The token has no iss."),
        ({"aud": "chatter"}, "The token is for another audience."),
        ({"aud": []}, "The token has no aud."),
        ({"aud": None}, "The token has no aud."),
        ({"aud": 7}, "The token is for another audience."),
        ({"sub": None}, "The token has no sub."),
    ):
        assert scene.complaint(token({**good, **change})) == said, change


def test_a_token_may_last_for_ever_if_that_is_allowed(secret: str) -> None:
    scene = Scene({"secret_file": secret, "require": "off"})
    assert result_of(scene.bring(token({"exp": None}))).expires_at is None
    assert "expired" in scene.complaint(token({"exp": NOW - 60}))


def test_a_session_may_outlive_its_token_if_that_is_allowed(secret: str) -> None:
    scene = Scene({"secret_file": secret, "expire": "no"})
    assert result_of(scene.bring(token())).expires_at is None


def test_no_session_lasts_longer_than_a_year(scene: Scene) -> None:
    assert result_of(scene.bring(token({"exp": 253402300799}))).expires_at == NOW + YEAR


def test_a_leeway_of_nothing_is_exact(secret: str) -> None:
    scene = Scene({"secret_file": secret, "leeway": "0s"})
    assert result_of(scene.bring(token())).expires_at == NOW + 60
    assert scene.complaint(token({"exp": NOW})) == "The token has expired."
    assert scene.lets_in(token({"exp": NOW + 1, "nbf": NOW}))


# where it is


def test_a_token_may_be_in_several_places_and_the_first_counts(secret: str) -> None:
    scene = Scene({"secret_file": secret, "from": "query:token,cookie:session,header"})
    ada, bob, bad = token({"sub": "ada"}), token({"sub": "bob"}), "x.y.z"
    assert isinstance(scene.ask(query=f"a=b&token={ada}"), Admit)
    assert isinstance(scene.ask(("Cookie", f"a=b; session={ada}"), query=""), Admit)
    assert scene.lets_in(bob)
    assert isinstance(scene.ask(("Cookie", f"session={bad}"), query=f"token={ada}"), Admit)
    assert scene.ask(("Authorization", f"Bearer {ada}"), query=f"token={bad}").status == 401


def test_places_that_are_not_named_do_not_count(scene: Scene) -> None:
    good = token()
    assert scene.ask(("Cookie", f"token={good}"), query=f"token={good}").status == 401
    assert scene.ask(subprotocols=("bearer", good)).status == 401


def test_a_token_that_is_there_twice_is_refused(secret: str) -> None:
    """The upstream might believe the one that was not checked."""
    scene = Scene({"secret_file": secret, "from": "header,query:token,subprotocol,cookie:sid"})
    good = token()
    twice = ("Authorization", f"Bearer {good}")
    for denial in (
        scene.ask(twice, twice),
        scene.ask(query=f"token={good}&token={good}"),
        scene.ask(query=f"token={good}&%74oken=another"),
        scene.ask(("Cookie", f"sid={good}; sid=another")),
        scene.ask(("Cookie", "sid=another"), ("Cookie", f'a=b;sid="{good}"')),
        scene.ask(subprotocols=("bearer", good, "Bearer", good)),
    ):
        assert denial.status == 400
        challenge = header_of(denial, "WWW-Authenticate")
        assert challenge.startswith('Bearer realm="wsrelay", error="invalid_request"')


def test_the_same_token_in_two_cookies_is_one(secret: str) -> None:
    """Browsers send one for each path that it was set for."""
    scene = Scene({"secret_file": secret, "from": "cookie:sid"})
    good = token()
    assert isinstance(scene.ask(("Cookie", f"sid={good}; other=1; sid={good}")), Admit)


def test_a_page_offers_its_token_behind_bearer(secret: str) -> None:
    scene = Scene({"secret_file": secret, "from": "subprotocol"})
    assert scene.policy.headers == ("Sec-WebSocket-Protocol",)
    good = token()
    for offered, left in (
        (("bearer", good), "bearer"),
        (("chat", "bearer", good, "chat2"), "chat, bearer, chat2"),
        ((good, "chat"), None),
        (("bearer",), None),
        ((), None),
    ):
        answer = scene.ask(subprotocols=offered)
        if left is None:
            assert answer.status == 401
        else:
            assert answer.headers == [("Sec-WebSocket-Protocol", left)]


def test_a_page_offers_its_token_behind_a_prefix(secret: str) -> None:
    prefix = "base64url.bearer.authorization.k8s.io."
    scene = Scene({"secret_file": secret, "from": f"header,subprotocol:{prefix}"})
    good = token()
    coded = base64.urlsafe_b64encode(good.encode()).decode().rstrip("=")
    for text in (good, coded):
        answer = scene.ask(subprotocols=("v4.channel.k8s.io", prefix + text))
        assert answer.headers == [("Sec-WebSocket-Protocol", "v4.channel.k8s.io")]
        assert scene.ask(subprotocols=(prefix + text,)).headers == []
    for text in ("", "!", "abcde", "YQ"):
        assert scene.ask(subprotocols=(prefix + text,)).status == 401


def test_a_token_beside_another_one_does_not_go_upstream_either(secret: str) -> None:
    scene = Scene({"secret_file": secret, "from": "header,subprotocol"})
    answer = scene.ask(
        ("Authorization", f"Bearer {token()}"), subprotocols=("bearer", "a.b.c", "chat")
    )
    assert answer.headers == [("Sec-WebSocket-Protocol", "bearer, chat")]


# what becomes of what it says


def test_claims_go_upstream_and_become_tags(secret: str) -> None:
    scene = Scene(
        {
            "secret_file": secret,
            "claim_headers": "X-User:sub,X-Roles:https://x.test/roles,X-None:nothing",
            "tags": "user:sub,role:https://x.test/roles,none:nothing",
        }
    )
    assert scene.policy.headers == ("X-User", "X-Roles", "X-None")
    answer = result_of(scene.bring(token({"sub": "Ünal", "https://x.test/roles": ["a", "b c"]})))
    assert answer.headers == [("X-User", "Ünal"), ("X-Roles", "a, b c")]
    assert answer.tags == ["user:Ünal", "role:a", "role:b c"]


@pytest.mark.parametrize(
    ("value", "text"),
    [("ada", "ada"), (7, "7"), (True, "true"), ("", ""), ([], None), (None, None)],
)
def test_what_a_claim_is_in_a_header(secret: str, value: object, text: str | None) -> None:
    scene = Scene({"secret_file": secret, "claim_headers": "X-User:sub"})
    answer = result_of(scene.bring(token({"sub": value})))
    assert answer.headers == ([] if text is None else [("X-User", text)])


@pytest.mark.parametrize(
    "value",
    [
        "ada\r\nX-Admin: yes",
        "ada\n",
        "a\0b",
        "a\x7f",
        " ada",
        "ada ",
        "ada\u00a0",
        "\ud800",
        1.5,
        {"a": 1},
        ["a", "b,c"],
        ["a", ["b"]],
        ["a", None],
        ["a\n"],
    ],
)
@pytest.mark.parametrize("option", ["claim_headers", "tags"])
def test_what_would_be_something_else_in_a_header_is_refused(
    secret: str, value: object, option: str
) -> None:
    scene = Scene({"secret_file": secret, option: "X-User:sub"})
    assert scene.complaint(token({"sub": value})) == "The token's sub cannot be passed on."


# keys that change


def test_a_changed_file_counts_within_a_second(scene: Scene) -> None:
    assert scene.lets_in(token())
    Path(scene.options["secret_file"]).write_bytes(SECRET[::-1])
    scene.clock.advance(1)
    assert "not signed" in scene.complaint(token())
    assert scene.lets_in(token(key=SECRET[::-1]))


def test_a_broken_file_changes_nothing(scene: Scene) -> None:
    Path(scene.options["secret_file"]).write_bytes(b"short")
    with capturedLogs() as events:
        for _ in range(3):
            scene.clock.advance(1)
            assert scene.lets_in(token())
    [event] = events
    assert event["text"].startswith("holds a secret of 5 bytes")


def test_the_keys_id_chooses_among_the_keys(tmp_path: Path) -> None:
    members = [jwk("ed25519", kid="a"), jwk("secp256r1", kid="b"), jwk("secp384r1")]
    (tmp_path / "keys.json").write_bytes(jwks(*members))
    scene = Scene({"jwks_file": str(tmp_path / "keys.json")})
    assert scene.lets_in(token({}, private("ed25519"), "EdDSA", kid="a"))
    assert scene.lets_in(token({}, private("ed25519"), "EdDSA"))
    assert not scene.lets_in(token({}, private("ed25519"), "EdDSA", kid="b"))
    assert scene.lets_in(token({}, private("secp384r1"), "ES384", kid="whatever"))


def test_every_key_without_an_id_is_tried(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(
        jwks(jwk("ed448"), jwk("ed25519"), {**RFC_KEY, "kid": "x"})
    )
    scene = Scene({"jwks_file": str(tmp_path / "keys.json")})
    assert scene.lets_in(token({}, private("ed25519"), "EdDSA"))


# keys that are fetched


def signed(kid: str | None = "a", kind: str = "ed25519") -> str:
    head = {} if kid is None else {"kid": kid}
    return token({}, private(kind), "EdDSA", **head)


def fetching(**options: str) -> Scene:
    return Scene({"jwks_url": URL, "jwks_ttl": "60s", **options})


def fetched(**options: str) -> Scene:
    """Return a scene where key ``a`` is known."""
    scene = fetching(**options)
    answer = scene.bring(signed())
    scene.agent.last.answer(200, body=jwks(jwk("ed25519", kid="a")))
    assert isinstance(result_of(answer), Admit)
    return scene


def test_keys_are_fetched_when_the_first_token_comes() -> None:
    scene = fetching()
    assert scene.agent.asked == []
    answers = [scene.bring(signed()), scene.bring(signed())]
    assert [each.url for each in scene.agent.asked] == [URL]
    assert scene.agent.last.fields() == {"accept": ["application/json"]}
    scene.agent.last.answer(200, body=jwks(jwk("ed25519", kid="a")))
    assert [type(result_of(each)) for each in answers] == [Admit, Admit]
    assert scene.lets_in(signed(None))
    assert len(scene.agent.asked) == 1


def test_what_is_no_token_fetches_nothing() -> None:
    scene = fetching()
    assert result_of(scene.ask()).status == 401
    assert result_of(scene.bring("x")).status == 401
    assert scene.agent.asked == []


def test_old_keys_are_fetched_again() -> None:
    scene = fetched()
    scene.clock.advance(59)
    assert scene.lets_in(signed())
    scene.clock.advance(1)
    answer = scene.bring(signed())
    scene.agent.last.answer(200, body=jwks(jwk("ed448", kid="b")))
    assert result_of(answer).status == 401  # it is not among them any more
    assert scene.lets_in(token({}, private("ed448"), "EdDSA", kid="b"))
    assert len(scene.agent.asked) == 2


@pytest.mark.parametrize("outcome", ["refused", "timeout", "500", "nonsense", "empty", "too much"])
def test_keys_stay_in_use_when_they_cannot_be_fetched(outcome: str) -> None:
    scene = fetched()
    scene.clock.advance(60)
    with capturedLogs() as events:
        answer = scene.bring(signed())
        fail(scene, outcome)
        assert isinstance(result_of(answer), Admit)
        assert scene.lets_in(signed())  # at once
        assert len(scene.agent.asked) == 2
        scene.clock.advance(RETRY)
        answer = scene.bring(signed())
        fail(scene, outcome)
        assert isinstance(result_of(answer), Admit)
    assert len(scene.agent.asked) == 3
    [event] = events
    assert event["about"] == "https://issuer.test/keys"
    assert "too much" in event["text"] or outcome != "too much"
    scene.clock.advance(RETRY)
    answer = scene.bring(signed())
    scene.agent.last.answer(200, body=jwks(jwk("ed25519", kid="a")))
    assert isinstance(result_of(answer), Admit)
    assert scene.clock.getDelayedCalls() == []


def fail(scene: Scene, outcome: str) -> None:
    asked = scene.agent.last
    if outcome == "refused":
        asked.deferred.errback(Refused())
    elif outcome == "timeout":
        scene.clock.advance(4)
    elif outcome == "500":
        asked.answer(500)
    else:
        body = {"nonsense": b"<html>", "empty": b'{"keys":[]}'}.get(outcome, bytes(MOST_READ + 1))
        asked.answer(200, body=body)


@pytest.mark.parametrize("outcome", ["refused", "timeout", "500", "nonsense", "empty"])
def test_without_any_keys_nobody_can_tell(outcome: str) -> None:
    scene = fetching()
    answers = [scene.bring(signed()), scene.bring(signed())]
    fail(scene, outcome)
    for each in answers:
        with pytest.raises(CannotTell, match=r"https://issuer.test/keys"):
            result_of(each)
    if outcome != "timeout":  # which takes longer than the wait does
        with pytest.raises(CannotTell, match=r"https://issuer.test/keys"):
            scene.bring(signed())
        assert len(scene.agent.asked) == 1
    scene.clock.advance(FIRST_RETRY)
    answer = scene.bring(signed())
    scene.agent.last.answer(200, body=jwks(jwk("ed25519", kid="a")))
    assert isinstance(result_of(answer), Admit)


def test_a_key_that_is_unknown_is_looked_for_now_and_then() -> None:
    scene = fetched()
    new = signed("b", "ed448")
    assert not scene.lets_in(new)  # it was asked a moment ago
    assert len(scene.agent.asked) == 1
    scene.clock.advance(RETRY)
    answer = scene.bring(new)
    assert scene.lets_in(signed())  # who is known does not wait
    scene.agent.last.answer(200, body=jwks(jwk("ed25519", kid="a"), jwk("ed448", kid="b")))
    assert isinstance(result_of(answer), Admit)
    assert scene.lets_in(new)
    for number in range(100):
        assert not scene.lets_in(signed(f"forged-{number}"))
    assert len(scene.agent.asked) == 2


def test_clients_that_leave_do_not_keep_new_keys_away() -> None:
    scene = fetched()
    scene.clock.advance(RETRY)
    answer = scene.bring(signed("b", "ed448"))
    answer.addErrback(lambda failure: failure.trap(CancelledError))
    answer.cancel()
    assert not scene.agent.last.cancelled
    scene.agent.last.answer(200, body=jwks(jwk("ed448", kid="b")))
    assert scene.lets_in(signed("b", "ed448"))


def test_no_secret_is_taken_from_a_url() -> None:
    scene = fetching()
    answer = scene.bring(signed())
    secret = {"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "kid": "a"}
    scene.agent.last.answer(200, body=jwks(secret))
    with pytest.raises(CannotTell, match="has no key that tokens"):
        result_of(answer)


def test_stopped_it_fetches_nothing_more() -> None:
    scene = fetching()
    answer = scene.bring(signed())
    scene.policy.stop()
    assert scene.agent.last.cancelled
    assert isinstance(answer, Deferred)
    with pytest.raises(CancelledError):
        result_of(answer)
    assert scene.clock.getDelayedCalls() == []


# options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"secret_file": None}, "there is no key; say one of secret_file, key_file, jwks_file"),
        ({"jwks_url": URL}, "secret_file and jwks_url are too many; say one of "),
        ({"secret_file": "/no/such"}, "cannot read /no/such: No such file"),
        ({"from": "body"}, "from: 'body' is no place for a token; expected header, "),
        ({"from": "cookie"}, "from: 'cookie' is no place"),
        ({"from": "cookie:"}, "from: 'cookie:' is no place"),
        ({"from": "subprotocol:"}, "from: 'subprotocol:' is no place"),
        ({"from": "header:X-Token"}, "from: 'header:X-Token' is no place"),
        ({"algorithms": "none"}, "algorithms: unknown value 'none'; expected one of HS256, "),
        ({"algorithms": "RS256"}, "has no key for RS256, but for HS256,HS384,HS512"),
        ({"leeway": "5"}, "leeway: '5' is not a duration (did you mean 5s?)"),
        ({"expire": "maybe"}, "expire: 'maybe' is neither yes nor no"),
        ({"claim_headers": "X-User"}, "claim_headers: 'X-User' names no claim"),
        ({"claim_headers": "Host:sub"}, "claim_headers: 'Host' belongs to the relay"),
        ({"tags": ":sub"}, "tags: ':sub' names no claim"),
        ({"jwks_ttl": "5m"}, "jwks_ttl: without jwks_url nothing is fetched"),
        ({"ca_file": "/x"}, "ca_file: without jwks_url nothing is fetched"),
        ({"realm": 'a"'}, "realm: 'a\"' cannot stand in a challenge"),
        ({"secret_file": None, "jwks_url": "ftp://x/"}, "jwks_url: 'ftp://x/' is not a URL"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(
    secret: str, options: dict[str, str | None], said: str
) -> None:
    given = {"secret_file": secret, **options}
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        Jwt(None, **{name: text for name, text in given.items() if text is not None})
    assert said in str(caught.value)


def test_a_plain_check_needs_no_reactor_and_fetches_nothing(secret: str) -> None:
    Jwt(None, secret_file=secret)
    Jwt(None, jwks_url=URL)


def test_heads_are_read_without_belief() -> None:
    assert head_of(token(kid="a")) == ("HS256", "a")
    assert head_of(token()) == ("HS256", None)
