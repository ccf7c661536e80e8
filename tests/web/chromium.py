"""A real Chromium for the tests, signed in as somebody."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.headers import Headers

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Route, sync_playwright
from pytest_django.live_server_helper import LiveServer

from dematmp.accounts.models import User
from dematmp.web import static_headers

FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@contextmanager
def chromium_browser(path: str) -> Iterator[Browser]:
    """Entered once the world is made: Playwright's loop then occupies this thread."""
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=flags)
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def signed_in(browser: Browser, server: LiveServer, user: User | None, **options: object) -> BrowserContext:
    """A context that has this person's session."""
    context = browser.new_context(base_url=server.url, locale="fr-FR", **options)  # type: ignore[arg-type]
    if user is not None:
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        context.add_cookies([{"name": "sessionid", "value": str(session.session_key), "url": server.url}])
    return context


def policed(context: BrowserContext) -> None:
    """The live server has no WhiteNoise: its headers are put on the programs here."""

    def add(route: Route) -> None:
        answer = route.fetch()
        more = Headers()
        static_headers.add(more, "", route.request.url)
        route.fulfill(response=answer, headers={**answer.headers, **dict(more.items())})

    context.route("**/static/build/*.js", add)
