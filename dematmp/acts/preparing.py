"""An act with annexes: a person confirms the typology of each file, then it is transmitted."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from dematmp.accounts.models import Organisation, User
from dematmp.acts import fields, pieces, rules
from dematmp.acts.classification import Codes, parsed
from dematmp.acts.errors import AccessRefused, ActRefused
from dematmp.acts.fields import Piece
from dematmp.acts.models import Act, ActPiece, Transmission
from dematmp.acts.operators import Operator
from dematmp.acts.posting import posted_name, today
from dematmp.acts.sound import check_early
from dematmp.acts.subscribers import new_key
from dematmp.acts.telling import tell_prepared
from dematmp.audit.services import append
from dematmp.awards.models import Award
from storage.stores import object_store

CONTRACT_CODES = (1, 1, 2)
_BLOCK = 1024 * 1024


def propose(
    names: Sequence[str], operator: Operator, *, nature: str = rules.CONTRACT
) -> list[pieces.Proposal]:
    """The typology proposed for each file, by the codes that the operator holds; to be confirmed."""
    codes = Codes(parsed(operator.classification().strip()))
    default = codes.default_typology(nature)
    proposed = [pieces.propose(name, default=default) for name in names]
    return [
        each if codes.permits(nature, each.typology) else pieces.Proposal(each.name, default, False)
        for each in proposed
    ]


def contract_must_be_sent(amount: Decimal, *, launched: date) -> bool:
    """Whether a contract of this amount (€ without tax) goes to the control authority (D2131-5-1)."""
    return pieces.must_be_sent(amount, launched=launched)


def prepare_act(
    buyer: Organisation,
    files: Sequence[Piece],
    *,
    nature: str,
    codes: tuple[int, ...],
    number: str,
    subject: str,
    decided_on: date,
    operator: Operator,
    by: User,
    now: datetime,
    replaces: Act | None = None,
    contract_of: Award | None = None,
) -> Act:
    """An act ready to be confirmed: its main document, then its annexes, each with a confirmed typology.

    Nothing leaves before a person who has the right confirms it (`confirming.confirm`). `replaces` failed
    or was cancelled, and is prepared again with its corrections: its award, if any, and its number follow.
    `contract_of` is the award whose contract, signed here, is its document.
    Raises AccessRefused, ActRefused; GatewayUnavailable when the operator's codes cannot be read.
    """
    if not (by.has_role("validator", buyer) or by.has_role("agent", buyer)):
        raise AccessRefused("Seul un agent ou un valideur de l'acheteur prépare un acte.")
    rules.check_identity(
        siren=buyer.siren, department=buyer.department, district=buyer.district, nature=buyer.authority_nature
    )
    fields.check_number(number)
    fields.check_decided(decided_on.isoformat(), today=today(now))
    fields.check_nature(nature)
    written = fields.check_subject(subject)
    held = Codes(parsed(operator.classification().strip()))
    held.check_codes(codes)
    types = _checked(files, held, nature=nature, codes=codes)
    for given in files:
        check_early(given.upload, now=now)
    rows = [_stored(rank, *each) for rank, each in enumerate(zip(files, types, strict=True), start=1)]
    main = rows[0]
    try:
        with transaction.atomic():
            award = _left_by(replaces, buyer, now=now) if replaces is not None else None
            act = Act.objects.create(
                buyer=buyer,
                award=award,
                contract_of=replaces.contract_of if replaces is not None else contract_of,
                replaces=replaces,
                number=number,
                nature=nature,
                classification=".".join(map(str, codes)),
                typology=main.typology,
                subject=written,
                decided_on=decided_on,
                document_key=main.key,
                document_sha256=main.sha256,
                document_size=main.size,
                created_by=by,
                created_at=now,
            )
            for each in rows[1:]:
                each.act = act
            ActPiece.objects.bulk_create(rows[1:])
            Transmission.objects.create(act=act)
            record = {
                "act": str(act.uuid),
                "by": str(by.uuid),
                "identifier": act.identifier,
                "sha256": [each.sha256 for each in rows],
                "typologies": [each.typology for each in rows],
            }
            if replaces is not None:
                record["replaces"] = str(replaces.uuid)
            append("act-prepared", record, consultation=act.consultation_uuid, now=now)
            if not by.has_role("validator", buyer):
                tell_prepared(act, by, now=now)
    except IntegrityError as taken:
        raise ActRefused("Ce numéro d'acte a déjà servi.", field="number") from taken
    return act


def _left_by(former: Act, buyer: Organisation, *, now: datetime) -> Award | None:
    """The award of an act that failed or was cancelled, which leaves it and its number. Raises ActRefused."""
    locked = Act.objects.select_for_update(of=("self",), no_key=True).get(pk=former.pk)
    if locked.buyer_id != buyer.pk or not may_be_replaced(locked):
        raise ActRefused("Cet acte n'est ni en échec ni annulé, ou il a déjà été préparé de nouveau.")
    award = locked.award
    locked.award, locked.replaced_at = None, now
    locked.save(update_fields=["award", "replaced_at"])
    return award


def may_be_replaced(act: Act) -> bool:
    """Whether it failed or was cancelled, and nothing was prepared in its place."""
    sent = act.transmission
    is_ended = sent.status == rules.ERROR or sent.cancelled_at is not None
    return act.replaced_at is None and act.authority_id is None and is_ended


def number_again(former: Act, operator: Operator) -> str:
    """The number of an act that failed where it may serve again, else the same with a suffix.

    The service gives back that of a transmission that failed before the ministry; a S2LOW elsewhere keeps
    each number that it took.
    """
    taken = former.transmission.remote_id is not None
    if not taken or (not operator.is_remote and operator.find(former.number) is None):
        return former.number
    for rank in range(2, 100):
        suffix = f"_{rank}"
        number = f"{former.number[: rules.NUMBER_CHARS - len(suffix)].rstrip('_')}{suffix}"
        if not Act.objects.filter(buyer=former.buyer, number=number).exists():
            return number
    return ""


def _checked(files: Sequence[Piece], held: Codes, *, nature: str, codes: tuple[int, ...]) -> list[str]:
    """The media types of an act's files. Raises ActRefused."""
    if not files:
        raise ActRefused("L'acte a un document au moins.")
    fields.check_sizes(sum(each.upload.size for each in files), len(files), empty=False)
    for each in files:
        fields.check_received(each.upload)
        fields.check_typology(each.typology, each.upload.name)
        if not held.permits(nature, each.typology):
            raise ActRefused(
                f"La typologie {each.typology} n'est pas permise sur {each.upload.name} pour cette nature."
            )
    types = [fields.check_main(files[0].upload, nature=nature, codes=codes)]
    return types + [fields.check_annex(each.upload, main=types[0]) for each in files[1:]]


def _stored(rank: int, piece: Piece, media_type: str) -> ActPiece:
    key = f"acts/pieces/{new_key()}"
    piece.upload.stream.seek(0)
    stored = object_store().put_stream(key, _blocks(piece))
    return ActPiece(
        rank=rank,
        name=posted_name(piece.upload.name),
        typology=piece.typology,
        media_type=media_type,
        key=key,
        size=stored.size,
        sha256=stored.sha256,
    )


def _blocks(piece: Piece) -> Iterator[bytes]:
    while block := piece.upload.stream.read(_BLOCK):
        yield block
