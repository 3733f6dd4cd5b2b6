"""Who may speak to the page, as a table of attacks."""

import pytest

from agent.page.guard import HEADERS, Forbidden, Guard

TOKEN = "t" * 43
GUARD = Guard(4711, TOKEN)
OURS = {
    "Host": "127.0.0.1:4711",
    "Origin": "http://127.0.0.1:4711",
    "Sec-Fetch-Site": "same-origin",
    "Authorization": f"Bearer {TOKEN}",
}


@pytest.mark.parametrize("host", ["127.0.0.1:4711", "localhost:4711"])
def test_our_own_page_may(host: str) -> None:
    GUARD.check({**OURS, "Host": host, "Origin": f"http://{host}"})
    GUARD.check({"Host": host, "Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize(
    "changed",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}u"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer \udcff"},
        {"Host": "evil.example:4711"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:4712"},
        {"Host": "127.0.0.1.evil.example:4711"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:4712"},
        {"Origin": "http://localhost:4711"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_nobody_else_may(changed: dict[str, str]) -> None:
    headers = {**OURS, **changed}
    if "Host" in changed:  # a page behind a rebound name is, to its browser, of one origin with us
        headers["Origin"] = f"http://{changed['Host']}"
    with pytest.raises(Forbidden):
        GUARD.check(headers)


def test_the_token_stands_in_no_description() -> None:
    assert TOKEN not in repr(GUARD)


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs_that_is_no_file_of_ours() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy


def test_every_answer_forbids_all_that_the_page_does_not_need() -> None:
    assert HEADERS == {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
