"""Headers of the static files."""

from wsgiref.headers import Headers

_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
# What opens files that nobody vouches for reaches no address: no fetch, no WebAssembly.
_PREFLIGHT = "default-src 'none'; script-src 'self'"


def add(headers: Headers, path: str, url: str) -> None:
    """Called by WhiteNoise for each file."""
    if url.endswith(".js"):
        headers["Content-Security-Policy"] = _PREFLIGHT if "/preflight-" in url else _POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
