"""What the public and the buyer say to each other: follow, ask, answer, be told."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet

from dematmp.accounts.models import Organisation, User
from dematmp.accounts.rules import clean_text
from dematmp.audit.services import append, utc_text
from dematmp.consultations.errors import LinkRefused, NotReady, WrongStep
from dematmp.consultations.models import Consultation, Follower, Question
from dematmp.mails.services import store as store_mail

_TWICE = timedelta(minutes=1)  # a button pressed again
_UNFOLLOW = "dematmp.consultations.unfollow"
Concerned = Callable[[Consultation], Iterable[str]]
_concerned: list[Concerned] = []


def concerned(addresses: Concerned) -> None:
    """A room above says who else hears of changes: an AppConfig.ready calls it. Nobody counts them."""
    _concerned.append(addresses)


def follow(consultation: Consultation, *, email: str, now: datetime) -> None:
    """Be told of changes; leaving an address twice is harmless."""
    Follower.objects.get_or_create(consultation=consultation, email=email.lower(), defaults={"since": now})


@transaction.atomic
def ask(consultation: Consultation, *, text: str, email: str = "", now: datetime) -> Question:
    """Ask the buyer a question, while the consultation is open; the same twice within a minute is one."""
    if not consultation.is_open(now=now):
        raise WrongStep("La consultation est close : les questions ne sont plus reçues.")
    if not text.strip():
        raise NotReady(["le texte de la question"])
    text = clean_text(text, lines=True)
    Consultation.every.select_for_update(no_key=True).get(pk=consultation.pk)
    same = consultation.questions.filter(text=text, email=email, asked_at__gte=now - _TWICE).first()
    if same is not None:
        return same
    asked = Question.objects.create(consultation=consultation, text=text, email=email, asked_at=now)
    text = f"Une question est posée sur la consultation « {consultation.title} »."
    call(consultation, people_of(consultation.buyer, "agent"), text, now=now)
    return asked


@transaction.atomic
def answer(question: Question, *, text: str, by: User, now: datetime) -> None:
    """Publish the answer to everybody at the same time, without naming who asked."""
    if not text.strip():
        raise NotReady(["le texte de la réponse"])
    changed = Question.objects.filter(pk=question.pk, answered_at=None).update(
        answer=text.strip(), answered_by=by, answered_at=now
    )
    if not changed:
        raise WrongStep("Cette question a déjà reçu une réponse.")
    # Digests: what somebody typed of themselves can be erased. The question enters with its answer: an entry
    # that anybody could make at will would tell how fast the journal grows.
    record = {
        "question": str(question.uuid),
        "asked": utc_text(question.asked_at),
        "question_sha256": hashlib.sha256(question.text.encode()).hexdigest(),
        "answer_sha256": hashlib.sha256(text.strip().encode()).hexdigest(),
        "by": str(by.uuid),
    }
    append("answer", record, consultation=question.consultation.uuid, subject=question.uuid, now=now)
    tell_followers(question.consultation, "Une question a reçu une réponse.", also=question.email, now=now)


def people_of(organisation: Organisation, role: str) -> QuerySet[User]:
    """Active people who hold this role for this organisation."""
    held = User.objects.filter(memberships__organisation=organisation, memberships__role=role, is_active=True)
    return held.distinct().order_by("pk")


def call(
    consultation: Consultation,
    people: Iterable[User],
    text: str,
    *,
    now: datetime,
    page: str = "acheteur/consultations",
    title: str = "",
) -> None:
    """One mail to each: something waits for them, on that page of the site. `title`: of a long text."""
    for user in people:
        store_mail(
            to=user.email,
            subject=f"{consultation.reference} : {title or text}",
            body=f"{text}\n\n{settings.SITE_URL}/{page}/{consultation.uuid}/",
            now=now,
        )


def tell_followers(consultation: Consultation, text: str, *, also: str = "", now: datetime) -> None:
    """Store one mail for each address left, `also`, and each concerned, in the caller's transaction.

    The journal keeps what was said and to how many of the first, and no address: it would count the bidders.
    """
    addresses = set(consultation.followers.order_by("pk").values_list("email", flat=True)) | (
        {also} if also else set()
    )
    page = f"{settings.SITE_URL}/consultations/{consultation.uuid}/"
    if addresses:
        append(
            "notified", {"text": text, "addresses": len(addresses)}, consultation=consultation.uuid, now=now
        )
    for address in sorted(addresses):
        store_mail(
            to=address,
            subject=f"{consultation.reference} : {consultation.title}",
            body=f"{text}\n\nConsultation {consultation.reference}, {consultation.buyer.name} : {page}\n\n"
            f"Ne plus recevoir ces messages : {page}ne-plus-suivre/{unfollow_token(consultation, address)}/",
            now=now,
        )
    others = {address.lower() for each in _concerned for address in each(consultation)}
    for address in sorted(others - {address.lower() for address in addresses}):
        store_mail(
            to=address,
            subject=f"{consultation.reference} : {consultation.title}",
            body=f"{text}\n\nConsultation {consultation.reference}, {consultation.buyer.name} : {page}\n\n"
            "Vous recevez ce message parce que vous avez déposé une offre. L'acheteur ne sait pas qu'il vous "
            "est adressé.",
            now=now,
        )


def unfollow_token(consultation: Consultation, email: str) -> str:
    """What lets the holder of this address, and nobody else, stop the messages of this consultation."""
    return str(signing.dumps([str(consultation.uuid), email], salt=_UNFOLLOW))


def unfollow(consultation: Consultation, *, token: str) -> None:
    """Forget an address; twice is harmless. Raises LinkRefused."""
    Follower.objects.filter(consultation=consultation, email=followed_by(consultation, token=token)).delete()


def followed_by(consultation: Consultation, *, token: str) -> str:
    """The address of an unfollow link. Raises LinkRefused."""
    try:
        uuid, email = signing.loads(token, salt=_UNFOLLOW)
    except (signing.BadSignature, ValueError, TypeError) as forged:
        raise LinkRefused("Ce lien n'est pas valable.") from forged
    if uuid != str(consultation.uuid):
        raise LinkRefused("Ce lien n'est pas valable.")
    return str(email)
