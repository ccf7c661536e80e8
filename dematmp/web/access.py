"""Who may enter. Every view carries one of these decorators; what one may not see answers 404."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponseBase

from dematmp.accounts.models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
ANYONE, SIGNED_IN = "anyone", "signed-in"


class MemberRequest(HttpRequest):
    """A request whose user is a known person."""

    user: User


MemberView = Callable[Concatenate[MemberRequest, P], HttpResponseBase]


def anyone(view: View[P]) -> View[P]:
    """No account, no cookie needed."""
    view.entry = ANYONE  # type: ignore[attr-defined]
    return view


def signed_in(view: MemberView[P]) -> View[P]:
    """Any person with an account; others are sent to the sign-in page and come back."""

    @wraps(view)
    @login_required
    def entered(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return view(cast(MemberRequest, request), *args, **kwargs)

    entered.entry = SIGNED_IN  # type: ignore[attr-defined]
    return cast(View[P], entered)


def holds(*roles: str) -> Callable[[MemberView[P]], View[P]]:
    """People who hold one of these roles somewhere; the view still fetches through what they may see."""

    def decorate(view: MemberView[P]) -> View[P]:
        @wraps(view)
        @login_required
        def entered(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            member = cast(MemberRequest, request)
            if not member.user.memberships.filter(role__in=roles).exists():
                raise Http404
            return view(member, *args, **kwargs)

        entered.entry = "/".join(roles)  # type: ignore[attr-defined]
        return cast(View[P], entered)

    return decorate
