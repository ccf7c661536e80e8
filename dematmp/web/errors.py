"""Errors that a page shows: a code, a French sentence, the next step."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """An expired session loses nothing: the page says so and how to go on."""
    context = {
        "code": "web.session-expired",
        "title": "Votre session a expiré",
        "message": "Le formulaire n'a pas été envoyé : votre session a expiré ou la page était ouverte depuis longtemps.",
        "next": "Revenez à la page précédente, rechargez-la, puis envoyez de nouveau.",
    }
    return render(request, "errors/problem.html", context, status=403)
