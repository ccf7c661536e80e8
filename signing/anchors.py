"""Trusted certificates as the path validator wants them: within the limits that they set to themselves.

RFC 5280 §6.1.1 leaves these to who trusts them: its algorithm knows a name and a key of an anchor, no more.
"""

from asn1crypto import x509
from pyhanko_certvalidator.authority import (
    AuthorityWithCert,
    CertTrustAnchor,
    TrustQualifiers,
    derive_quals_from_cert,
)
from pyhanko_certvalidator.policy_decl import PKIXValidationParams


class _Authority(AuthorityWithCert):
    """One that issues only if it says that it may; any other is trusted as itself alone."""

    def is_potential_issuer_of(self, cert: x509.Certificate) -> bool:
        return bool(super().is_potential_issuer_of(cert)) and may_issue(self.certificate)


class Anchor(CertTrustAnchor):
    """A trusted certificate, read when a path comes to it: trusted lists hold thousands of others."""

    def __init__(self, certificate: x509.Certificate) -> None:
        super().__init__(certificate)
        self._authority = _Authority(certificate)

    @property
    def trust_qualifiers(self) -> TrustQualifiers:
        """The length of its paths and the names below it; neither its dates nor its policies."""
        if self._quals is None:
            said = derive_quals_from_cert(self._cert)
            names = said.standard_parameters
            self._quals = TrustQualifiers(
                max_path_length=said.max_path_length,
                max_aa_path_length=said.max_path_length,
                standard_parameters=names
                and PKIXValidationParams(
                    initial_permitted_subtrees=names.initial_permitted_subtrees,
                    initial_excluded_subtrees=names.initial_excluded_subtrees,
                ),
            )
        return self._quals


def may_issue(certificate: x509.Certificate) -> bool:
    """Whether it says that it is an authority, whose key signs certificates (RFC 5280 §4.2.1.3, §4.2.1.9)."""
    usage = certificate.key_usage_value
    return bool(certificate.ca) and (usage is None or "key_cert_sign" in usage.native)
