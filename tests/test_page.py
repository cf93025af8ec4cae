"""The policy that confines a page."""

import base64
import hashlib

from wsrelay.page import content_security_policy


def test_the_policy_allows_this_script_this_style_and_the_relay_and_forbids_the_rest() -> None:
    html = "<style>a { color: red }</style>\n<script>\nlet a = 1;\n</script>"
    script = base64.b64encode(hashlib.sha256(b"\nlet a = 1;\n").digest()).decode()
    style = base64.b64encode(hashlib.sha256(b"a { color: red }").digest()).decode()
    assert content_security_policy(html, "ws://127.0.0.1:1").split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{script}'",
        f"style-src 'sha256-{style}'",
        "connect-src 'self' ws://127.0.0.1:1",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]


def test_a_page_without_a_script_may_run_none_and_its_forms_go_where_they_are_told_to() -> None:
    policy = content_security_policy("<p>Hello</p>", form_action="'self'").split("; ")
    assert "script-src 'none'" in policy
    assert "style-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "form-action 'self'" in policy
