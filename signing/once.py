"""A signature is verified once, however many paths, lists and answers lead to it again."""

from collections import OrderedDict

from asn1crypto import algos, keys, x509
from pyhanko_certvalidator.sig_validate import (
    DEFAULT_VALIDATION_CONTEXT,
    DefaultSignatureValidator,
    SignatureValidationContext,
)

_MOST, _MOST_BYTES = 256, 16 * 1024  # signatures remembered, and what each may sign


class _Once(DefaultSignatureValidator):
    """Remembers those that hold, to the letter: the same bytes, key and algorithms."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def validate_signature(
        self,
        signature: bytes,
        signed_data: bytes,
        public_key_info: keys.PublicKeyInfo,
        signature_algorithm: algos.SignedDigestAlgorithm,
        context: SignatureValidationContext = DEFAULT_VALIDATION_CONTEXT,
    ) -> None:
        said = (signature, signed_data, public_key_info.dump(), signature_algorithm.dump(), context)
        if said in self._held:
            return
        super().validate_signature(signature, signed_data, public_key_info, signature_algorithm, context)
        if len(signed_data) <= _MOST_BYTES:
            self._held[said] = None
            if len(self._held) > _MOST:
                self._held.popitem(last=False)


ONCE = _Once()


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """As RFC 5280 §7.1 compares them, which is long: most are the same bytes."""
    return bool(one.dump() == other.dump() or one == other)
