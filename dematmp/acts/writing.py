"""ACTES messages and envelopes as XML: strict, in ISO-8859-1, in the order of the schema v1.1."""

import re

from lxml import etree

from dematmp.acts import messages as m
from dematmp.acts.errors import ActRefused
from dematmp.acts.latin1 import to_latin1
from dematmp.acts.xmlio import INSEE, add, put, q, root, to_bytes

# The schema's own e-mail rule: the last label has two to six letters.
EMAIL = re.compile(r"[_a-zA-Z0-9\-]+(\.[_a-zA-Z0-9\-]+)*@[a-zA-Z0-9\-]+(\.[a-zA-Z0-9\-]+)*\.[a-zA-Z]{2,6}")
SUBJECT_CHARS = 500


def write(message: m.Message) -> bytes:
    """The XML of a message. Raises ActRefused for what the schema would refuse."""
    element = root(m.ROOTS[m.kind_of(message)])
    match message:
        case m.Act():
            _act(element, message)
        case m.ActReceipt():
            put(element, DateReception=message.received.isoformat(), IDActe=message.identifier)
            _act(add(element, "ActeRecu"), message.act)
            add(element, "ClassificationDateVersionEnCours", message.classification_date.isoformat())
        case m.ActAnomaly():
            _anomaly(element, message)
            _act(add(element, "ActeRecu"), message.act)
            add(element, "ClassificationDateVersionEnCours", message.classification_date.isoformat())
        case m.Letter():
            _letter(element, message)
        case m.LetterReceipt():
            put(element, DateReception=message.received.isoformat())
            quoted = add(element, "InfosCourrierPref")
            put(quoted, IDActe=message.identifier, DateCourrierPref=message.written.isoformat())
        case m.Referral():
            put(element, IDActe=message.identifier)
            add(element, "DateDepot", message.filed.isoformat())
            add(element, "NatureIllegalite", message.illegality)
            pieces = add(element, "PiecesJointes")
            for each in message.documents:
                _file(add(pieces, "PieceJointe"), each)
        case m.Cancellation():
            put(element, IDActe=message.identifier)
        case m.CancellationReceipt():
            put(element, DateReception=message.received.isoformat(), IDActe=message.identifier)
        case m.ClassificationRequest():
            if message.held is not None:
                add(element, "DateClassification", message.held.isoformat())
        case m.ClassificationUnchanged():
            add(element, "DateClassification", message.on.isoformat())
        case m.Classification():
            _classification(element, message)
    return to_bytes(element)


def _act(element: etree._Element, act: m.Act) -> None:
    if not 2 <= len(act.codes) <= 5:
        raise ActRefused("La classification a deux niveaux au moins et cinq au plus.")
    put(element, Date=act.decided.isoformat(), NumeroInterne=act.number, CodeNatureActe=act.nature)
    for level, code in enumerate(act.codes, start=1):
        add(element, f"CodeMatiere{level}", CodeMatiere=str(code))
    add(element, "Objet", to_latin1(act.subject)[:SUBJECT_CHARS])
    if act.previous:
        add(element, "PrecedentIdentifiantActe", IDActe=act.previous)
    add(element, "ClassificationDateVersion", act.classification_date.isoformat())
    _file(add(element, "Document"), act.document)
    annexes = add(element, "Annexes", Nombre=str(len(act.annexes)))
    for each in act.annexes:
        _file(add(annexes, "Annexe"), each)
    add(element, "DocumentPapier", "O" if act.paper else "N")


def _file(element: etree._Element, file: m.File) -> None:
    add(element, "NomFichier", file.name)
    if file.signature:
        add(element, "Signature", file.signature)


def _anomaly(element: etree._Element, anomaly: m.ActAnomaly | m.EnvelopeAnomaly) -> None:
    add(element, "Date", anomaly.on.isoformat())
    add(element, "Nature", anomaly.nature)
    if anomaly.detail:
        add(element, "Detail", anomaly.detail)


def _letter(element: etree._Element, letter: m.Letter) -> None:
    put(element, DateCourrierPref=letter.written.isoformat(), IDActe=letter.identifier)
    if letter.kind in m.LETTER_TEXT:
        add(element, m.LETTER_TEXT[letter.kind], letter.text)
    wanted = 0 if letter.kind in m.WITHOUT_DOCUMENT else 1
    many = letter.kind == "3-4"
    if len(letter.documents) < wanted or (not many and len(letter.documents) != wanted):
        raise ActRefused(f"Le message {letter.kind} porte {'un document au moins' if many else wanted}.")
    holder = add(element, "Documents") if many else element
    for each in letter.documents:
        _file(add(holder, "Document"), each)


def _classification(element: etree._Element, answer: m.Classification) -> None:
    add(element, "DateClassification", answer.on.isoformat())
    natures = add(element, "NaturesActes")
    for nature in answer.natures:
        kind = add(natures, "NatureActe")
        put(kind, CodeNatureActe=nature.code, Libelle=nature.label, TypeAbrege=nature.short)
        for each in nature.typologies:
            add(kind, "TypePJNatureActe", CodeTypePJ=each.code, Libelle=each.label)
    _matters(add(element, "Matieres"), answer.matters, 1)


def _matters(element: etree._Element, matters: tuple[m.Matter, ...], level: int) -> None:
    if level > 5 and matters:
        raise ActRefused("La classification a cinq niveaux au plus.")
    for each in matters:
        below = add(element, f"Matiere{level}", CodeMatiere=str(each.code), Libelle=each.label)
        _matters(below, each.below, level + 1)


def write_envelope(envelope: m.Envelope) -> bytes:
    """`EnveloppeCLMISILL`. Raises ActRefused for an address that the schema refuses."""
    element = root("EnveloppeCLMISILL")
    _sent(element, envelope)
    return to_bytes(element)


def _sent(element: etree._Element, envelope: m.Envelope) -> None:
    if not envelope.return_addresses or not envelope.messages:
        raise ActRefused("L'enveloppe porte une adresse de retour et un message au moins.")
    issuer = add(element, "Emetteur")
    identity = etree.SubElement(issuer, q("IDCL"))
    identity.set(f"{{{INSEE}}}SIREN", envelope.siren)
    put(
        identity,
        Departement=envelope.department,
        Arrondissement=envelope.district,
        Nature=envelope.nature,
    )
    _referent(issuer, envelope.referent)
    addresses = add(element, "AdressesRetour")
    for each in envelope.return_addresses:
        if EMAIL.fullmatch(each) is None:
            raise ActRefused(
                f"L'adresse de retour « {each} » n'est pas acceptée par ACTES (2 à 6 lettres après le point)."
            )
        add(addresses, "Email", each)
    _forms(element, envelope.messages)


def _referent(element: etree._Element, referent: m.Referent) -> None:
    email = referent.email if EMAIL.fullmatch(referent.email) else ""
    if not (referent.name or referent.telephone or email):
        return
    person = add(element, "Referent")
    for name, value in (("Nom", referent.name), ("Telephone", referent.telephone), ("Email", email)):
        if value:
            add(person, name, value)


def _forms(element: etree._Element, files: tuple[m.File, ...]) -> None:
    forms = add(element, "FormulairesEnvoyes")
    for each in files:
        _file(add(forms, "Formulaire"), each)


def write_return_envelope(envelope: m.ReturnEnvelope) -> bytes:
    """`EnveloppeMISILLCL`."""
    element = root("EnveloppeMISILLCL")
    issuer = add(element, "Emetteur")
    office = add(issuer, envelope.office, Departement=envelope.department)
    if envelope.office == "IDSousPref":
        put(office, Arrondissement=envelope.district)
    _referent(issuer, envelope.referent)
    _forms(element, envelope.messages)
    to = etree.SubElement(element, q("Destinataire"))
    to.set(f"{{{INSEE}}}SIREN", envelope.siren)
    return to_bytes(element)


def write_envelope_anomaly(anomaly: m.EnvelopeAnomaly) -> bytes:
    """`AnomalieEnveloppe`, the content of a file `ANO_…`."""
    element = root("AnomalieEnveloppe")
    _anomaly(element, anomaly)
    _sent(add(element, "EnveloppeRecue"), anomaly.envelope)
    return to_bytes(element)
