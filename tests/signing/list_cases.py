"""A list of lists and a national list made on the spot (ETSI TS 119 612), signed with signxml."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml import methods
from signxml.xades import XAdESSigner

from tests.signing.authority import NOW, Identity, Issuer

TSL = "http://uri.etsi.org/02231/v2#"
_BASE = "http://uri.etsi.org/TrstSvc"
CA_QC, QTST = f"{_BASE}/Svctype/CA/QC", f"{_BASE}/Svctype/TSA/QTST"
GRANTED, WITHDRAWN = (f"{_BASE}/TrustedList/Svcstatus/{each}" for each in ("granted", "withdrawn"))
LOTL_URL, FR_URL = "https://listes.example/eu-lotl.xml", "https://listes.example/fr.xml"
PIVOT_URL = "https://listes.example/pivot-1.xml"
_ESIGN = f"{_BASE}/TrustedList/SvcInfoExt/ForeSignatures"


@dataclass
class Service:
    """One service of a list, and what it was before: (status, since), the latest first."""

    certificate: x509.Certificate
    kind: str = CA_QC
    status: str = GRANTED
    since: datetime = NOW - timedelta(days=2000)
    history: list[tuple[str, datetime]] = field(default_factory=list)
    supply: str = ""


def _b64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(certificate: x509.Certificate) -> str:
    row = f"<DigitalId><X509Certificate>{_b64(certificate)}</X509Certificate></DigitalId>"
    return f"<ServiceDigitalIdentity>{row}</ServiceDigitalIdentity>"


def _information(service: Service, status: str, since: datetime) -> str:
    extension = (
        '<ServiceInformationExtensions><Extension Critical="true"><AdditionalServiceInformation>'
        f'<URI xml:lang="en">{_ESIGN}</URI></AdditionalServiceInformation></Extension>'
        "</ServiceInformationExtensions>"
        if service.kind == CA_QC
        else ""
    )
    supply = (
        f"<ServiceSupplyPoints><ServiceSupplyPoint>{service.supply}</ServiceSupplyPoint></ServiceSupplyPoints>"
        if service.supply
        else ""
    )
    return (
        f"<ServiceTypeIdentifier>{service.kind}</ServiceTypeIdentifier>"
        '<ServiceName><Name xml:lang="en">Service</Name></ServiceName>'
        f"{_identity(service.certificate)}<ServiceStatus>{status}</ServiceStatus>"
        f"<StatusStartingTime>{_time(since)}</StatusStartingTime>{supply}{extension}"
    )


def _service(service: Service) -> str:
    past = "".join(
        f"<ServiceHistoryInstance>{_information(service, *row)}</ServiceHistoryInstance>"
        for row in service.history
    )
    now = _information(service, service.status, service.since)
    history = f"<ServiceHistory>{past}</ServiceHistory>" if past else ""
    return f"<TSPService><ServiceInformation>{now}</ServiceInformation>{history}</TSPService>"


def _scheme(
    sequence: int, *, territory: str, next_update: datetime, pointers: str = "", uris: str = ""
) -> str:
    name = '<Name xml:lang="en">Essai</Name>'
    return (
        f"<SchemeInformation><TSLVersionIdentifier>5</TSLVersionIdentifier>"
        f"<TSLSequenceNumber>{sequence}</TSLSequenceNumber>"
        "<TSLType>http://uri.etsi.org/TrstSvc/TrustedList/TSLType/EUgeneric</TSLType>"
        f"<SchemeOperatorName>{name}</SchemeOperatorName><SchemeName>{name}</SchemeName>"
        f'<SchemeInformationURI><URI xml:lang="en">https://listes.example/</URI>{uris}</SchemeInformationURI>'
        f"<SchemeTerritory>{territory}</SchemeTerritory>{pointers}"
        f"<ListIssueDateTime>{_time(NOW - timedelta(days=1))}</ListIssueDateTime>"
        f"<NextUpdate><dateTime>{_time(next_update)}</dateTime></NextUpdate></SchemeInformation>"
    )


def _pointer(url: str, territory: str, signer: Identity, *, rules: str = "EUcommon") -> str:
    uri = f"http://uri.etsi.org/TrstSvc/TrustedList/schemerules/{rules}"
    mime = "application/vnd.etsi.tsl+xml"
    return (
        f"<OtherTSLPointer><ServiceDigitalIdentities>{_identity(signer.certificate)}</ServiceDigitalIdentities>"
        f"<TSLLocation>{url}</TSLLocation><AdditionalInformation>"
        f"<OtherInformation><SchemeTerritory>{territory}</SchemeTerritory></OtherInformation>"
        '<OtherInformation><SchemeTypeCommunityRules><URI xml:lang="en">'
        f"{uri}</URI></SchemeTypeCommunityRules>"
        '</OtherInformation><OtherInformation><MimeType xmlns="http://uri.etsi.org/02231/v2/additionaltypes#">'
        f"{mime}</MimeType></OtherInformation></AdditionalInformation></OtherTSLPointer>"
    )


def _signed(body: str, signer: Identity) -> bytes:
    root = etree.fromstring(f'<TrustServiceStatusList xmlns="{TSL}" Id="tsl">{body}</TrustServiceStatusList>')
    out = XAdESSigner(method=methods.enveloped, signature_algorithm="ecdsa-sha256").sign(
        root, key=signer.key, cert=[signer.certificate]
    )
    return etree.tostring(out)


@dataclass
class Lists:
    """Whoever signs the list of lists and the French list, and the authorities that the latter names."""

    lotl_signer: Identity
    signer: Identity
    services: Sequence[Service]
    sequence: int = 1
    next_update: datetime = NOW + timedelta(days=90)
    pivot_signer: Identity | None = None
    others: Sequence[str] = ()  # territories that publish the same list as France

    @classmethod
    def of(cls, services: Sequence[Service]) -> "Lists":
        operators = Issuer.root("Opérateurs des listes")
        return cls(operators.issue("LOTL"), operators.issue("FR"), services)

    def national(self) -> bytes:
        rows = "".join(map(_service, self.services))
        name = '<TSPName><Name xml:lang="en">Prestataire</Name></TSPName>'
        provider = (
            f"<TrustServiceProvider><TSPInformation>{name}</TSPInformation><TSPServices>{rows}</TSPServices>"
            "</TrustServiceProvider>"
        )
        scheme = _scheme(self.sequence, territory="FR", next_update=self.next_update)
        return _signed(
            f"{scheme}<TrustServiceProviderList>{provider}</TrustServiceProviderList>", self.signer
        )

    def lotl(self, by: Identity | None = None, *, names: Identity | None = None) -> bytes:
        """`names`: whom the list of lists says signs it (pivots)."""
        itself = _pointer(LOTL_URL, "EU", names or self.lotl_signer, rules="EUlistofthelists")
        places = {"FR": FR_URL, **{each: FR_URL.replace("fr.", f"{each.lower()}.") for each in self.others}}
        national = "".join(_pointer(url, territory, self.signer) for territory, url in places.items())
        pointers = f"<PointersToOtherTSL>{itself}{national}</PointersToOtherTSL>"
        uris = f'<URI xml:lang="en">{PIVOT_URL}</URI>' if self.pivot_signer else ""
        scheme = _scheme(
            self.sequence, territory="EU", next_update=self.next_update, pointers=pointers, uris=uris
        )
        return _signed(scheme, by or self.lotl_signer)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "eu-lotl.xml").write_bytes(self.lotl())
        for territory in ("FR", *self.others):
            (folder / f"{territory.lower()}.xml").write_bytes(self.national())
        if self.pivot_signer:
            (folder / "pivot-1.xml").write_bytes(self.lotl(self.pivot_signer, names=self.lotl_signer))
        return folder
