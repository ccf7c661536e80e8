"""Which algorithms still prove something (ETSI TS 119 312, ANSSI's RGS annex B1)."""

import re
from datetime import datetime

from asn1crypto import algos, keys
from pyhanko_certvalidator.policy_decl import AlgorithmUsageConstraint, DisallowWeakAlgorithmsPolicy

WEAK_HASHES = frozenset({"md2", "md4", "md5", "sha1", "ripemd160", "sha224", "sha3_224", "sha512_224"})
KNOWN_HASHES = frozenset({"sha256", "sha384", "sha512", "sha512_256", "sha3_256", "sha3_384", "sha3_512"})
_SHA = re.compile(r"^SHA(?=\d)")
_RSA_BITS, _CURVE_BITS, _SALT_BYTES = 2048, 256, 16


class _ChainPolicy(DisallowWeakAlgorithmsPolicy):
    """What may sign a certificate: the mask of PSS is a hash as well."""

    def signature_algorithm_allowed(
        self,
        algo: algos.SignedDigestAlgorithm,
        moment: datetime | None,
        public_key: keys.PublicKeyInfo | None,
    ) -> AlgorithmUsageConstraint:
        if algo["algorithm"].native == "rsassa_pss" and hash_weakness(_mask(algo)):
            return AlgorithmUsageConstraint(allowed=False)
        return super().signature_algorithm_allowed(algo, moment, public_key)


CHAIN_POLICY = _ChainPolicy(WEAK_HASHES, rsa_key_size_threshold=_RSA_BITS)  # type: ignore[no-untyped-call]


def key_weakness(key: keys.PublicKeyInfo) -> str:
    """Why this key is too weak, in French, or the empty string."""
    name = key.algorithm
    if name in ("rsa", "rsassa_pss"):
        return f"clé RSA de {key.bit_size} bits" if key.bit_size < _RSA_BITS else ""
    if name == "ec":
        if key["algorithm"]["parameters"].name != "named":
            return "courbe décrite par ses paramètres"  # RFC 5480 §2.1.1: a false generator may be among them
        return f"courbe de {curve_bits(key)} bits" if curve_bits(key) < _CURVE_BITS else ""
    if name in ("ed25519", "ed448"):
        return ""
    return f"clé {name.upper()}"


def curve_bits(key: keys.PublicKeyInfo) -> int:
    """By its point, compressed or not (SEC 1 §2.3.3); the curve of 521 bits takes 66 bytes."""
    point = bytes(key["public_key"].native)
    size = (len(point) - 1) * 8 // (1 if point[:1] in (b"\x02", b"\x03") else 2)
    return 521 if size == 528 else size


def hash_weakness(name: str) -> str:
    """Why this hash is too weak or unknown, in French, or the empty string."""
    if name in KNOWN_HASHES or name == "shake256":
        return ""
    return f"empreinte {_written(name)}"


def signature_weakness(algorithm: algos.SignedDigestAlgorithm, digest: str, key: keys.PublicKeyInfo) -> str:
    """Why a CMS signature is too weak: its digest, the digest it signs, the mask of PSS, its key."""
    hashes = {digest}
    if algorithm["algorithm"].native not in ("ed25519", "ed448"):
        hashes.add(signed_hash(algorithm, digest))
    if algorithm["algorithm"].native == "rsassa_pss":
        hashes.add(_mask(algorithm))
    found = [*map(hash_weakness, sorted(hashes)), key_weakness(key)]
    return ", ".join(filter(None, found))


def _mask(algorithm: algos.SignedDigestAlgorithm) -> str:
    return str(algorithm["parameters"]["mask_gen_algorithm"]["parameters"]["algorithm"].native)


def short_salt(algorithm: algos.SignedDigestAlgorithm) -> int | None:
    """The bytes of a salt of PSS too short to be one (TS 119 312 §6.2); None for any other signature."""
    if algorithm["algorithm"].native != "rsassa_pss":
        return None
    size = int(algorithm["parameters"]["salt_length"].native)
    return size if size < _SALT_BYTES else None


def key_as_used(key: keys.PublicKeyInfo, algorithm: algos.SignedDigestAlgorithm) -> keys.PublicKeyInfo:
    """A key for PSS alone may ask for a hash, a mask, and so much salt at least (RFC 4055 §3.3)."""
    asked, used = key["algorithm"]["parameters"], algorithm["parameters"]
    if not isinstance(asked, algos.RSASSAPSSParams) or not isinstance(used, algos.RSASSAPSSParams):
        return key
    same = ("hash_algorithm", "mask_gen_algorithm", "trailer_field")
    if any(asked[each].native != used[each].native for each in same):
        return key
    if used["salt_length"].native < asked["salt_length"].native:
        return key
    made: keys.PublicKeyInfo = key.copy()
    made["algorithm"] = {"algorithm": "rsassa_pss", "parameters": used}
    return made


def signed_hash(algorithm: algos.SignedDigestAlgorithm, digest: str) -> str:
    """The hash inside a CMS signature algorithm, which may leave it to the digest algorithm."""
    try:
        return str(algorithm.hash_algo)
    except ValueError:
        return digest


def describe(digest: str, key: keys.PublicKeyInfo) -> str:
    """« SHA-256, RSA 3072 bits »."""
    named = key.algorithm.upper()
    if key.algorithm in ("ed25519", "ed448"):
        named = key.algorithm.capitalize()
    elif key.algorithm == "ec":
        named = f"ECDSA {curve_bits(key)} bits"
    elif key.algorithm in ("rsa", "rsassa_pss", "dsa"):
        named = f"{named} {key.bit_size} bits"
    return f"{_written(digest)}, {named}"


def _written(digest: str) -> str:
    """« SHA-256 », « SHA-512/256 », « SHA3-256 »."""
    upper = digest.upper()
    return upper.replace("SHA3_", "SHA3-") if "SHA3_" in upper else _SHA.sub("SHA-", upper).replace("_", "/")
