"""The contract, signed by both parties on the same PDF: each version keeps the former, and adds a signature.

Nothing is signed here: each party signs on its own machine (`python -m signing sign`, or its usual software).
"""

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction

from dematmp.accounts.models import Organisation, User
from dematmp.audit.services import append
from dematmp.awards.models import BOTH, BUYER, COMPANY, Award, ContractVersion
from dematmp.mails.services import store as store_mail
from dematmp.opening.signatures import plain
from signing.report import FAILED, Report, read_report
from signing.sniffing import Kind, sniff
from signing.validation import validate_isolated
from storage.antivirus import State, scan
from storage.stores import object_store

CONTRACT_BYTES = 50 * 1024**2
_BLOCK = 1024**2
_AGAIN = "Repartez du PDF de la dernière version, signez-le sans l'imprimer ni l'exporter, puis déposez-le."


class ContractRefused(Exception):
    """This PDF is not the next version of the contract. `str()` is the French sentence."""

    code: ClassVar[str] = "contract.refused"
    status: ClassVar[int] = 409
    next: str = _AGAIN


def parties(award: Award) -> set[str]:
    """Who has signed the contract, as those who deposited its versions said."""
    said = set(award.contract.values_list("signed_by", flat=True))
    return {COMPANY, BUYER} if BOTH in said else said


def is_concluded(award: Award) -> bool:
    """Both parties have signed."""
    return parties(award) == {COMPANY, BUYER}


def add_version(
    award: Award, *, name: str, stream: BinaryIO, signed_by: str, by: User, now: datetime
) -> ContractVersion:
    """Keep the next version of the contract; the same file twice is one version.

    Raises ContractRefused; AntivirusUnavailable, StoreUnavailable (nothing was kept).
    """
    _check_party(award, signed_by, by)
    with tempfile.TemporaryDirectory(prefix="dematmp-contract-") as folder:
        path = Path(folder) / "contrat.pdf"
        digest = _written(stream, path)
        former = award.contract.order_by("-number").first()
        if former is not None and former.sha256 == digest:
            return former
        if is_concluded(award):
            raise ContractRefused("Ce contrat est déjà signé par les deux parties.")
        _follows(path, former)
        report = _signed(path, former, now=now)
        _check_signers(award, report, _count(former) if former else 0, signed_by)
        verdict = scan(_blocks(path))
        if verdict.state is State.INFECTED:
            raise ContractRefused(f"Un virus a été trouvé dans ce fichier ({verdict.name}).")
        if verdict.state is State.UNSCANNABLE:
            raise ContractRefused(f"L'antivirus ne peut pas lire ce fichier ({verdict.name}).")
        key = f"contracts/{award.lot.consultation.uuid}/{uuid.uuid4().hex}"
        size = object_store().put_stream(key, _blocks(path)).size
        made = ContractVersion(
            award=award,
            number=former.number + 1 if former else 1,
            signed_by=signed_by,
            by=by,
            at=now,
            name=name[-255:] or "contrat.pdf",
            key=key,
            size=size,
            sha256=digest,
            added_signatures=len(report.signatures) - (_count(former) if former else 0),
            added_bytes=size - (former.size if former else 0),
            report=plain(report.as_dict()),
        )
        return _kept(made, now=now)


def _kept(made: ContractVersion, *, now: datetime) -> ContractVersion:
    award, consultation = made.award, made.award.lot.consultation
    record: dict[str, object] = {
        "by": str(made.by.uuid),
        "lot": award.lot.number,
        "number": made.number,
        "sha256": made.sha256,
        "signed_by": made.signed_by,
    }
    try:
        with transaction.atomic():
            made.save(force_insert=True)
            append("contract-version", record, consultation=consultation.uuid, now=now)
            if is_concluded(award):
                concluded = {"lot": award.lot.number, "sha256": made.sha256}
                append("contract-concluded", concluded, consultation=consultation.uuid, now=now)
            _tell(made, now=now)
    except IntegrityError as meanwhile:
        raise ContractRefused("Une autre version vient d'être déposée.") from meanwhile
    return made


def _check_party(award: Award, signed_by: str, by: User) -> None:
    buyer = award.lot.consultation.buyer
    if by.has_role("validator", buyer):
        if signed_by not in (COMPANY, BUYER, BOTH):
            raise ContractRefused("Il faut dire qui a signé cette version.")
        return
    if not (by.has_role("bidder", award.company) or by.has_role("administrator", award.company)):
        raise ContractRefused("Seules les deux parties déposent une version du contrat.")
    if signed_by != COMPANY:
        raise ContractRefused("Une entreprise ne dépose que sa propre signature.")
    if not award.contract.exists():
        raise ContractRefused("L'acheteur n'a pas encore déposé le contrat à signer.")


def _written(stream: BinaryIO, path: Path) -> str:
    """Lay the file on disk; its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as out:
        while block := stream.read(_BLOCK):
            size += len(block)
            if size > CONTRACT_BYTES:
                raise ContractRefused(f"Le contrat pèse {CONTRACT_BYTES // 1024**2} Mo au plus.")
            digest.update(block)
            out.write(block)
    with path.open("rb") as file:
        if sniff(file.read(4096)) is not Kind.PDF:
            raise ContractRefused("Ce fichier n'est pas un PDF.")
    return digest.hexdigest()


def _follows(path: Path, former: ContractVersion | None) -> None:
    """Every byte of the former version is at the head of this one."""
    if former is None:
        return
    with path.open("rb") as file:
        for block in object_store().open(former.key):
            if file.read(len(block)) != block:
                raise ContractRefused(f"Ce fichier n'est pas la suite de la version {former.number}.")


def _signed(path: Path, former: ContractVersion | None, *, now: datetime) -> Report:
    """Its signatures: one more at least, none spoilt, and each of the whole document but later signatures."""
    trust = [Path(each) for each in settings.SIGNATURE_TRUST]
    report = validate_isolated(path, at=now, trust=trust, online=True, name="contrat.pdf")
    if len(report.signatures) <= (_count(former) if former else 0):
        raise ContractRefused(
            "Ce PDF ne porte aucune signature nouvelle." if former else "Ce PDF n'est pas signé."
        )
    for each in report.signatures:
        if each.indication == FAILED:
            raise ContractRefused(f"Une signature ne vaut pas pour ce document : {each.reason}")
        if each.coverage != "whole":
            raise ContractRefused(
                f"Le document a changé depuis la signature de {each.signer or 'son signataire'} : "
                "une signature doit seule s'y ajouter."
            )
    return report


def _check_signers(award: Award, report: Report, known: int, signed_by: str) -> None:
    """Two parties sign with two certificates: one alone would conclude the contract for both."""
    each = [(one.issuer, one.serial) for one in report.signatures]
    before, added = set(each[:known]), set(each[known:])
    if signed_by == BOTH and len(added) < len((COMPANY, BUYER)):
        raise ContractRefused("Cette version ne porte pas les signatures de deux certificats différents.")
    if signed_by != BOTH and parties(award) - {signed_by} and added <= before:
        raise ContractRefused("Cette signature est du même certificat que celle de l'autre partie.")


def _count(version: ContractVersion) -> int:
    return len(read_report(version.report).signatures)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _tell(made: ContractVersion, *, now: datetime) -> None:
    """The other party learns that a version is there."""
    award = made.award
    consultation = award.lot.consultation
    where = f"{settings.SITE_URL}/contrats/{award.pk}/"
    done = "Il est signé par les deux parties." if is_concluded(award) else "Il attend votre signature."
    from_buyer = made.by.has_role("validator", consultation.buyer)
    other: Organisation = award.company if from_buyer else consultation.buyer
    roles = ["bidder", "administrator"] if from_buyer else ["validator"]
    people = User.objects.filter(memberships__organisation=other, memberships__role__in=roles).distinct()
    for email in people.values_list("email", flat=True):
        store_mail(
            to=email,
            subject=f"Contrat du lot {award.lot.number} : {consultation.title}",
            body=f"La version {made.number} du contrat est déposée. {done}\n\n{where}",
            now=now,
        )
