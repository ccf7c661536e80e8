"""Headers of the static files."""

from wsgiref.headers import Headers

_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
# What opens files that nobody vouches for reaches no address: no fetch, no WebAssembly.
_PREFLIGHT = "default-src 'none'; script-src 'self'"


def add(headers: Headers, path: str, url: str) -> None:
    """Called by WhiteNoise for each file. A worker obeys the policy of its own file, not that of its page."""
    if url.endswith(".js"):
        policy = _PREFLIGHT if "/preflight-" in url else _POLICY
        origins = _reached() if "/deposit-worker" in url else []
        headers["Content-Security-Policy"] = " ".join([policy, *origins])
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"


def _reached() -> list[str]:
    from dematmp.web.reached import reached  # the settings, which import this file, are read by then

    return reached()
