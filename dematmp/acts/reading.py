"""ACTES messages and envelopes from XML: lenient for what the ministry really sends, hostile otherwise.

Tolerated: UTF-8 under a prolog that says ISO-8859-1, a missing or odd DocumentPapier, a wrong
count of annexes,
an anomaly's nature of one to three digits, natures without typologies, attributes without prefix.
"""

import re
from datetime import date

from lxml import etree

from dematmp.acts import messages as m
from dematmp.acts import names
from dematmp.acts.errors import MessageRefused
from dematmp.acts.xmlio import MAP, NS, attribute, child, day, parse, siren, text

FILES = 1000
CLASSIFICATION_BYTES = 4 * 1024 * 1024
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f]{1,255}")


def read(data: bytes) -> m.Message:
    """The message. Raises MessageRefused: unreadable, not ACTES, or without what identifies it."""
    element = parse(data, limit=CLASSIFICATION_BYTES)
    name = _local(element)
    kind = m.KINDS.get(name)
    if kind is None:
        raise MessageRefused(f"« {name[:60]} » n'est pas un message ACTES.")
    if kind in m.LETTERS:
        return _letter(element, kind)
    if kind in m.LETTER_RECEIPTS:
        quoted = child(element, "InfosCourrierPref")
        return m.LetterReceipt(
            kind, _identifier(quoted), day(attribute(quoted, "DateCourrierPref")), _received(element)
        )
    match kind:
        case "1-1":
            return _act(element)
        case "1-2":
            return m.ActReceipt(
                _identifier(element), _received(element), _act(child(element, "ActeRecu")), _version(element)
            )
        case "1-3":
            return m.ActAnomaly(*_anomaly(element), _act(child(element, "ActeRecu")), _version(element))
        case "5-1":
            files = tuple(
                _file(each) for each in element.findall("actes:PiecesJointes/actes:PieceJointe", MAP)
            )
            return m.Referral(
                _identifier(element), day(text(element, "actes:DateDepot")),
                text(element, "actes:NatureIllegalite"), _some(files),
            )  # fmt: skip
        case "6-1":
            return m.Cancellation(_identifier(element))
        case "6-2":
            return m.CancellationReceipt(_identifier(element), _received(element))
        case "7-1":
            held = text(element, "actes:DateClassification")
            return m.ClassificationRequest(day(held) if held else None)
        case "7-3":
            return m.ClassificationUnchanged(day(text(element, "actes:DateClassification")))
    return _classification(element)


def read_receipt(data: bytes, *, identifier: str) -> m.ActReceipt:
    """The `ARActe` of this very act. Raises MessageRefused when it is about another."""
    found = read(data)
    if not isinstance(found, m.ActReceipt) or not names_act(found, identifier):
        raise MessageRefused(f"L'acquittement reçu n'est pas celui de l'acte {identifier}.")
    return found


def names_act(found: m.ActReceipt | m.Letter | m.Referral, identifier: str) -> bool:
    """Whether a message found under an act is about it; without identifier, by the number that it quotes."""
    if found.identifier or not isinstance(found, m.ActReceipt):
        return found.identifier in ("", identifier)
    return found.act.number == names.split_identifier(identifier)[2]


def _local(element: etree._Element) -> str:
    qualified = str(element.tag)
    if not qualified.startswith(f"{{{NS}}}"):
        raise MessageRefused("Le document n'est pas de l'espace de noms ACTES v1.1.")
    return qualified.removeprefix(f"{{{NS}}}")


def _identifier(element: etree._Element) -> str:
    """Empty when the ministry left it out: the message's name, or the number it quotes, says which act."""
    found = attribute(element, "IDActe")
    if found:
        names.split_identifier(found)
    return found


def _received(element: etree._Element) -> date:
    return day(attribute(element, "DateReception"))


def _version(element: etree._Element) -> date:
    return day(text(element, "actes:ClassificationDateVersionEnCours"))


def _file(element: etree._Element) -> m.File:
    name = text(element, "actes:NomFichier")
    if _FILE_NAME.fullmatch(name) is None or name.startswith("."):
        raise MessageRefused("Le message cite un nom de fichier vide ou dangereux.")
    signed = element.find("actes:Signature", MAP)
    return m.File(
        name, "".join(str(each) for each in signed.itertext()).strip() if signed is not None else ""
    )


def _some(files: tuple[m.File, ...]) -> tuple[m.File, ...]:
    if len(files) > FILES:
        raise MessageRefused(f"Le message cite plus de {FILES} fichiers.")
    return files


def _number(written: str) -> int:
    if re.fullmatch(r"[0-9]{1,4}", written) is None:
        raise MessageRefused("Un code de la classification n'est pas un entier.")
    return int(written)


def _act(element: etree._Element) -> m.Act:
    codes = [
        _number(attribute(each, "CodeMatiere"))
        for level in range(1, 6)
        for each in element.findall(f"actes:CodeMatiere{level}", MAP)
    ]
    previous = element.find("actes:PrecedentIdentifiantActe", MAP)
    annexes = tuple(_file(each) for each in element.findall("actes:Annexes/actes:Annexe", MAP))
    return m.Act(
        number=attribute(element, "NumeroInterne"),
        nature=attribute(element, "CodeNatureActe"),
        decided=day(attribute(element, "Date")),
        codes=tuple(codes[:5]),
        subject=text(element, "actes:Objet"),
        classification_date=day(text(element, "actes:ClassificationDateVersion")),
        document=_file(child(element, "Document")),
        annexes=_some(annexes),
        paper=text(element, "actes:DocumentPapier").upper() in {"O", "1", "OUI"},
        previous=attribute(previous, "IDActe") if previous is not None else "",
    )


def _anomaly(element: etree._Element) -> tuple[date, str, str]:
    nature = text(element, "actes:Nature")
    if re.fullmatch(r"[0-9]{1,3}", nature) is None:
        raise MessageRefused("La nature de l'anomalie n'est pas un nombre de trois chiffres.")
    return day(text(element, "actes:Date")), nature.zfill(3), text(element, "actes:Detail")


def _letter(element: etree._Element, kind: str) -> m.Letter:
    path = "actes:Documents/actes:Document" if kind == "3-4" else "actes:Document"
    files = _some(tuple(_file(each) for each in element.findall(path, MAP)))
    said = m.LETTER_TEXT.get(kind)
    return m.Letter(
        kind=kind,
        identifier=_identifier(element),
        written=day(attribute(element, "DateCourrierPref")),
        documents=files,
        text=text(element, f"actes:{said}") if said else "",
    )


def _classification(element: etree._Element) -> m.Classification:
    natures = tuple(
        m.Nature(
            code=attribute(each, "CodeNatureActe"),
            short=attribute(each, "TypeAbrege"),
            label=attribute(each, "Libelle"),
            typologies=tuple(
                m.Typology(attribute(kind, "CodeTypePJ"), attribute(kind, "Libelle"))
                for kind in each.findall("actes:TypePJNatureActe", MAP)
            ),
        )
        for each in element.findall("actes:NaturesActes/actes:NatureActe", MAP)
    )
    matters = _matters(child(element, "Matieres"), 1)
    if not natures or not matters:
        raise MessageRefused("La classification reçue n'a ni nature ni matière.")
    return m.Classification(day(text(element, "actes:DateClassification")), natures, matters)


def _matters(element: etree._Element, level: int) -> tuple[m.Matter, ...]:
    return tuple(
        m.Matter(
            _number(attribute(each, "CodeMatiere")), attribute(each, "Libelle"), _matters(each, level + 1)
        )
        for each in element.findall(f"actes:Matiere{level}", MAP)
    )


def _referent(element: etree._Element) -> m.Referent:
    found = element.find("actes:Referent", MAP)
    if found is None:
        return m.Referent()
    return m.Referent(text(found, "actes:Nom"), text(found, "actes:Telephone"), text(found, "actes:Email"))


def _forms(element: etree._Element) -> tuple[m.File, ...]:
    files = tuple(_file(each) for each in element.findall("actes:FormulairesEnvoyes/actes:Formulaire", MAP))
    if not files:
        raise MessageRefused("L'enveloppe n'annonce aucun message.")
    return _some(files)


def read_envelope(data: bytes) -> m.Envelope:
    """`EnveloppeCLMISILL`. Raises MessageRefused."""
    element = parse(data)
    if _local(element) != "EnveloppeCLMISILL":
        raise MessageRefused("Une enveloppe « EnveloppeCLMISILL » est attendue.")
    return _sent(element)


def _sent(element: etree._Element) -> m.Envelope:
    issuer = child(element, "Emetteur")
    identity = child(issuer, "IDCL")
    number = siren(identity)
    if re.fullmatch(r"[0-9]{9}", number) is None:
        raise MessageRefused("Le SIREN de l'enveloppe n'a pas neuf chiffres.")
    addresses = element.findall("actes:AdressesRetour/actes:Email", MAP)
    return m.Envelope(
        siren=number,
        department=attribute(identity, "Departement"),
        district=attribute(identity, "Arrondissement"),
        nature=attribute(identity, "Nature"),
        referent=_referent(issuer),
        return_addresses=tuple(str(each.text or "").strip() for each in addresses),
        messages=_forms(element),
    )


def read_return_envelope(data: bytes) -> m.ReturnEnvelope:
    """`EnveloppeMISILLCL`. Raises MessageRefused."""
    element = parse(data)
    if _local(element) != "EnveloppeMISILLCL":
        raise MessageRefused("Une enveloppe « EnveloppeMISILLCL » est attendue.")
    issuer = child(element, "Emetteur")
    for office in ("IDSousPref", "IDPref", "IDSGAR"):
        found = issuer.find(f"actes:{office}", MAP)
        if found is not None:
            return m.ReturnEnvelope(
                office, attribute(found, "Departement"), attribute(found, "Arrondissement"),
                _referent(issuer), _forms(element), siren(child(element, "Destinataire")),
            )  # fmt: skip
    raise MessageRefused("L'enveloppe ne dit pas de quelle préfecture elle vient.")


def read_envelope_anomaly(data: bytes) -> m.EnvelopeAnomaly:
    """`AnomalieEnveloppe`. Raises MessageRefused."""
    element = parse(data)
    if _local(element) != "AnomalieEnveloppe":
        raise MessageRefused("Une « AnomalieEnveloppe » est attendue.")
    on, nature, detail = _anomaly(element)
    return m.EnvelopeAnomaly(on, nature, detail, _sent(child(element, "EnveloppeRecue")))
