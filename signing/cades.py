"""CAdES and plain CMS (ETSI EN 319 122-1, RFC 5652): attached or detached, counter-signed."""

from collections.abc import Callable, Sequence

from asn1crypto import cms, core, crl, ocsp, tsp, x509

from signing.archived import DIFFERENT, FORMER, Different, cms_archive
from signing.contents import Content, named_like, only_one
from signing.der import TooComplex, check_limits
from signing.found import UNCLEAR, Found, Problem, Stamped, altered, malformed, no_content, stamped_elsewhere
from signing.signers import BROKEN, certificates_of, digest_of, read_signer, signed_attributes

MAX_SIGNERS = 50
_MAX_STAMPS = 20
_ARCHIVE = "0.4.0.1733.2.4"  # archive-time-stamp-v3
_FORMER_ARCHIVES = {"1.2.840.113549.1.9.16.2.48", "1.2.840.113549.1.9.16.2.27"}  # TS 101 733
_CERTIFICATE_VALUES, _REVOCATION_VALUES = "1.2.840.113549.1.9.16.2.23", "1.2.840.113549.1.9.16.2.24"
_STAMP, _COUNTER = "1.2.840.113549.1.9.16.2.14", "1.2.840.113549.1.9.6"
_CONTENT_STAMP = "1.2.840.113549.1.9.16.2.20"

Digest = Callable[[str], bytes]  # of the content, by the name of the algorithm
Archive = Callable[[cms.ContentInfo, Digest], Stamped]


def read_cades(data: bytes, name: str, contents: Sequence[Content]) -> list[Found]:
    """Every signature of a CMS in BER or DER; `contents` are the files that a detached one may be about."""
    try:
        check_limits(data)
        signed = _signed_data(data)
        carried = certificates_of(signed)
        infos = list(signed["signer_infos"])
        received = [bytes(each.dump()) for each in infos]  # before anything of them is read
        whose = bytes(signed["encap_content_info"]["content_type"].dump())
        kind = str(signed["encap_content_info"]["content_type"].native)
        attached = _attached(signed)
        lists, responses = _revocation(signed)
    except TooComplex:
        return [_unread("Structure trop profonde ou trop longue.")]
    except BROKEN as broken:
        return [_unread(f"Ce fichier n'est pas un CMS lisible ({type(broken).__name__}).")]
    if len(infos) > MAX_SIGNERS:
        return [_unread(f"Plus de {MAX_SIGNERS} signataires.")]
    found: list[Found] = []
    for info, whole in zip(infos, received, strict=True):

        def archive(token: cms.ContentInfo, digest: Digest, whole: bytes = whole) -> Stamped:
            return cms_archive(token, signed, whole, whose, digest)

        one = _read_one(info, carried, attached, name, contents, kind=kind, archive=archive)
        one.crls, one.ocsps = [*one.crls, *lists], [*one.ocsps, *responses]
        found.append(one)
        found += _countersigners(info, carried, left=MAX_SIGNERS)
    return found


def is_timestamp(data: bytes) -> bool:
    """Whether it is a token of time, alone or in an answer (RFC 3161 §2.4.2): nobody's signature."""
    for answered in (False, True):
        try:
            check_limits(data)
            read = tsp.TimeStampResp if answered else cms.ContentInfo
            info = read.load(data, strict=True)
            info = info["time_stamp_token"] if answered else info
            if info["content"]["encap_content_info"]["content_type"].native == "tst_info":
                return True
        except BROKEN:
            continue
    return False


def _unread(reason: str) -> Found:
    return Found("CMS", problem=malformed(reason), coverage=UNCLEAR)


def _signed_data(data: bytes) -> cms.SignedData:
    info = cms.ContentInfo.load(data, strict=True)
    if info["content_type"].native != "signed_data":
        raise ValueError("not a SignedData")
    return info["content"]


def _attached(signed: cms.SignedData) -> bytes | None:
    encapsulated = signed["encap_content_info"]
    if isinstance(encapsulated["content"], core.Void) or encapsulated["content"].contents is None:
        return None
    # The octets of a constructed BER string are those of its pieces.
    return bytes(encapsulated["content"])


def _read_one(
    info: cms.SignerInfo,
    carried: list[x509.Certificate],
    attached: bytes | None,
    name: str,
    contents: Sequence[Content],
    *,
    kind: str,
    archive: Archive,
) -> Found:
    if attached is not None:
        found = _read(info, carried, digest_of(attached), kind=kind, archive=archive)
        found.covers = ("contenu joint à la signature",)
        if contents and found.problem is None:
            _compare(found, attached, name, contents)
        return found
    chosen = _choose(info, name, contents)
    if chosen is None:
        found = _read(info, carried, lambda _: b"", kind=kind, archive=archive)
        # The signature itself may be false, which is said first.
        if found.problem is None or found.problem.sub in ("HASH_FAILURE",):
            found.problem = no_content(
                "Le document signé n'est pas parmi les fichiers fournis : la signature en est séparée."
            )
        found.coverage = UNCLEAR
        return found
    content, digest = chosen
    found = _read(info, carried, digest, kind=kind, archive=archive)
    found.covers = (content.name,)
    if digest != content.digest:
        found.warnings.append("Ce texte a été signé avec d'autres fins de ligne, celles d'un courriel.")
    return found


def _compare(found: Found, attached: bytes, name: str, contents: Sequence[Content]) -> None:
    """Two contents for one signature: the attached one is what is signed, and it must be said.

    Another file of the same bid, by another name, is not meant by it.
    """
    digest = digest_of(attached)("sha256")
    same = next((each for each in contents if each.digest("sha256") == digest), None)
    if same is not None:
        found.covers = (same.name,)
    elif only_one(contents) is not None or named_like(name, contents) is not None:
        found.problem = altered("Le document joint à la signature n'est pas le fichier fourni à côté.")


def _read(
    info: cms.SignerInfo,
    carried: list[x509.Certificate],
    digest: Digest,
    *,
    kind: str,
    archive: Archive,
) -> Found:
    # The type that is signed must be that of the content (RFC 5652 §11.1), whichever it is.
    found = read_signer(info, carried, digest, format_name="CAdES", content_type=kind)
    if not found.baseline:
        found.format = "CMS"
    try:
        found.problem = found.problem or _check_content_stamps(info, digest)
        read_unsigned(info, found, lambda token: archive(token, digest))
    except BROKEN as broken:
        found.warnings.append(f"Des attributs non signés sont illisibles ({type(broken).__name__}).")
    return found


def _check_content_stamps(info: cms.SignerInfo, digest: Digest) -> Problem | None:
    """A timestamp of the content, among what is signed, must be of this content (EN 319 122-1 §5.2.8)."""
    attributes = signed_attributes(info) or {}
    # asn1crypto knows it by its number, or by its name once pyHanko told it.
    for value in attributes.get(_CONTENT_STAMP, attributes.get("content_time_stamp", ())):
        token = cms.ContentInfo.load(value.dump())["content"]["encap_content_info"]["content"].parsed
        imprint = token["message_imprint"]
        if digest(imprint["hash_algorithm"]["algorithm"].native) != imprint["hashed_message"].native:
            return stamped_elsewhere()
    return None


def _choose(info: cms.SignerInfo, name: str, contents: Sequence[Content]) -> tuple[Content, Digest] | None:
    """The content of the signed digest; else the one that is obviously meant; else None."""
    meant = only_one(contents) or named_like(name, contents)
    try:
        attributes = signed_attributes(info)
        algorithm = info["digest_algorithm"]["algorithm"].native
        if attributes is not None and "message_digest" in attributes:
            wanted = attributes["message_digest"][0].native
            for each in contents:
                if each.digest(algorithm) == wanted:
                    return each, each.digest
            if meant is not None:
                for form in meant.mail_forms():
                    if form.digest(algorithm) == wanted:
                        return meant, form.digest
    except BROKEN:
        return None
    return None if meant is None else (meant, meant.digest)


def read_unsigned(
    info: cms.SignerInfo, found: Found, archive: Callable[[cms.ContentInfo], Stamped] | None = None
) -> None:
    """Timestamps, certificates and revocation data that were added to a signature. Raises BROKEN."""
    if isinstance(info["unsigned_attrs"], core.Void):
        return
    signature = info["signature"].native
    for attribute in info["unsigned_attrs"]:
        kind, values = attribute["type"].dotted, attribute["values"]
        if kind == _STAMP:
            for token in list(values)[:_MAX_STAMPS]:
                found.stamps.append(Stamped(cms.ContentInfo.load(token.dump()), signature))
        elif kind == _ARCHIVE and archive is not None:
            for token in list(values)[:_MAX_STAMPS]:
                _read_archive(cms.ContentInfo.load(token.dump()), found, archive)
        elif kind == _ARCHIVE or kind in _FORMER_ARCHIVES:
            found.archived = FORMER
        elif kind == _REVOCATION_VALUES:
            for value in values:
                _read_revocation_values(value.dump(), found)
        elif kind == _CERTIFICATE_VALUES:
            for value in values:
                found.others += list(_Certificates.load(value.dump()))[:100]


def _read_archive(
    token: cms.ContentInfo, found: Found, archive: Callable[[cms.ContentInfo], Stamped]
) -> None:
    try:
        found.stamps.append(archive(token))
    except Different:
        found.archived = DIFFERENT
    except BROKEN:
        found.archived = FORMER


class _Lists(core.SequenceOf):  # type: ignore[misc]
    _child_spec = crl.CertificateList


class _Basics(core.SequenceOf):  # type: ignore[misc]
    _child_spec = ocsp.BasicOCSPResponse


class _RevocationValues(core.Sequence):  # type: ignore[misc]
    """RFC 5126 §6.3.4: complete revocation values."""

    _fields = [
        ("crls", _Lists, {"explicit": 0, "optional": True}),
        ("ocsps", _Basics, {"explicit": 1, "optional": True}),
        ("other", core.Any, {"explicit": 2, "optional": True}),
    ]


class _Certificates(core.SequenceOf):  # type: ignore[misc]
    _child_spec = x509.Certificate


def _read_revocation_values(der: bytes, found: Found) -> None:
    values = _RevocationValues.load(der)
    if values["crls"].native is not None:
        found.crls += list(values["crls"])
    if values["ocsps"].native is not None:
        found.ocsps += [as_response(each) for each in values["ocsps"]]


def as_response(basic: ocsp.BasicOCSPResponse) -> ocsp.OCSPResponse:
    """The response that these signed bytes would come in (RFC 6960 §4.2.1)."""
    return ocsp.OCSPResponse(
        {
            "response_status": "successful",
            "response_bytes": {
                "response_type": "basic_ocsp_response",
                "response": core.ParsableOctetString(basic.dump()),
            },
        }
    )


def _revocation(signed: cms.SignedData) -> tuple[list[crl.CertificateList], list[ocsp.OCSPResponse]]:
    """What the field `crls` of the SignedData carries (EN 319 122-1 §5.4.2)."""
    lists: list[crl.CertificateList] = []
    responses: list[ocsp.OCSPResponse] = []
    if isinstance(signed["crls"], core.Void):
        return lists, responses
    for choice in signed["crls"]:
        if choice.name == "crl":
            lists.append(choice.chosen)
            continue
        kind, value = choice.chosen["other_rev_info_format"].native, choice.chosen["other_rev_info"]
        if kind in ("ocsp_response", "1.3.6.1.5.5.7.16.2"):
            responses.append(ocsp.OCSPResponse.load(value.dump()))
    return lists, responses


def _countersigners(info: cms.SignerInfo, carried: list[x509.Certificate], *, left: int) -> list[Found]:
    """RFC 5652 §11.4: signatures of the signature, and of those, `left` at most."""
    found: list[Found] = []
    try:
        if isinstance(info["unsigned_attrs"], core.Void):
            return found
        values = [
            value
            for attribute in info["unsigned_attrs"]
            if attribute["type"].dotted == _COUNTER
            for value in attribute["values"]
        ]
        for counter in values:
            if len(found) >= left:
                found.append(_unread(f"Plus de {MAX_SIGNERS} contre-signatures."))
                break
            one = read_signer(
                counter,
                carried,
                digest_of(info["signature"].native),
                format_name="CAdES",
                content_type=None,
            )
            one.role, one.covers = "counter-signature", ("la signature précédente",)
            if not one.baseline:
                one.format = "CMS"
            read_unsigned(counter, one)
            found.append(one)
            found += _countersigners(counter, carried, left=left - len(found))
    except BROKEN as broken:
        found.append(_unread(f"Contre-signature illisible ({type(broken).__name__})."))
    return found
