"""Which algorithms still prove something (ETSI TS 119 312, ANSSI's RGS annex B1)."""

from asn1crypto import algos, keys
from pyhanko_certvalidator.policy_decl import DisallowWeakAlgorithmsPolicy

WEAK_HASHES = frozenset({"md2", "md4", "md5", "sha1", "ripemd160"})
KNOWN_HASHES = frozenset(
    {"sha224", "sha256", "sha384", "sha512", "sha512_256"} | {"sha3_224", "sha3_256", "sha3_384", "sha3_512"}
)
_RSA_BITS, _CURVE_BITS = 2048, 224
CHAIN_POLICY = DisallowWeakAlgorithmsPolicy(  # type: ignore[no-untyped-call]
    WEAK_HASHES, rsa_key_size_threshold=_RSA_BITS
)


def key_weakness(key: keys.PublicKeyInfo) -> str:
    """Why this key is too weak, in French, or the empty string."""
    name = key.algorithm
    if name in ("rsa", "rsassa_pss"):
        return f"clé RSA de {key.bit_size} bits" if key.bit_size < _RSA_BITS else ""
    if name == "ec":
        return f"courbe de {key.bit_size} bits" if key.bit_size < _CURVE_BITS else ""
    if name in ("ed25519", "ed448"):
        return ""
    return f"clé {name.upper()}"


def hash_weakness(name: str) -> str:
    """Why this hash is too weak or unknown, in French, or the empty string."""
    if name in KNOWN_HASHES or name == "shake256":
        return ""
    return f"empreinte {name.upper()}"


def signature_weakness(algorithm: algos.SignedDigestAlgorithm, digest: str, key: keys.PublicKeyInfo) -> str:
    """Why a CMS signature is too weak: its digest, the digest it signs, the mask of PSS, its key."""
    hashes = {digest}
    if algorithm["algorithm"].native not in ("ed25519", "ed448"):
        hashes.add(signed_hash(algorithm, digest))
    if algorithm["algorithm"].native == "rsassa_pss":
        hashes.add(algorithm["parameters"]["mask_gen_algorithm"]["parameters"]["algorithm"].native)
    found = [*map(hash_weakness, sorted(hashes)), key_weakness(key)]
    return ", ".join(filter(None, found))


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
        named = f"ECDSA {key.bit_size} bits"
    elif key.algorithm in ("rsa", "rsassa_pss", "dsa"):
        named = f"{named} {key.bit_size} bits"
    return f"{digest.upper().replace('SHA3_', 'SHA3-').replace('SHA2', 'SHA-2')}, {named}"
