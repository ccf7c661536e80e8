"""Open one sealed envelope (pli/1) with the EK that the minutes give. No code of the platform is used.

Needs Python 3.11+ and the `cryptography` package only:

    python open_envelope.py envelopes/<company>/<envelope> EK-in-hex output-folder deposits/<company>.record

The record (its time and place in the journal are proven beside it) says what was received: who kept EK can
seal other files under the same header, hence every sealed object is first compared with it. Without the
record, that is said. Each file is written only once its SHA-256 is the one that the bidder sealed in `t.cob`.
Formats: signing/SPEC.md, and https://c2sp.org/chunked-encryption for the sealed objects.
"""

import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CHUNK = 16384
TAG = 16
LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-512."""
    return HKDFExpand(algorithm=SHA512(), length=length, info=info).derive(key)


def unseal(path: Path, ek: bytes, hh: bytes, index: int, out: Path) -> str:
    """Decrypt sealed object `index` into `out`; the lower-hex SHA-256 of the plaintext."""
    number = index.to_bytes(4, "big")
    file_key = expand(ek, b"pli/1 file-key\x00" + number, 32)
    context = b"pli/1 file\x00" + hh + number
    digest = hashlib.sha256()
    with path.open("rb") as sealed, out.open("wb") as plain:
        salt, commitment = sealed.read(24), sealed.read(32)
        derived = expand(file_key, LABEL + salt + context, 32 + 12 + 32)
        key, base, expected = derived[:32], int.from_bytes(derived[32:44], "big"), derived[44:]
        if commitment != expected:
            raise SystemExit(f"{path} : cette clé n'est pas celle de cet objet")
        cipher, counter, size = AESGCM(key), 0, CHUNK
        while size == CHUNK:
            block = sealed.read(CHUNK + TAG)
            text = cipher.decrypt((base ^ counter).to_bytes(12, "big"), block, None)
            digest.update(text)
            plain.write(text)
            counter, size = counter + 1, len(text)
        if sealed.read(1):
            raise SystemExit(f"{path} : des octets suivent la fin")
    return digest.hexdigest()


def compare(folder: Path, hh: bytes, record: Path) -> None:
    """Every sealed object is the one that the record of the deposit says, by its composite SHA-256."""
    said = [each for each in json.loads(record.read_bytes())["envelopes"] if each["header"] == hh.hex()]
    if not said:
        raise SystemExit("cette enveloppe n'est pas dans ce dépôt")
    for each in said[0]["objects"]:
        whole = hashlib.sha256()
        with (folder / each["name"]).open("rb") as sealed:
            while part := sealed.read(each["part_bytes"]):
                whole.update(hashlib.sha256(part).digest())
        if whole.hexdigest() != each["sha256"]:
            raise SystemExit(f"{each['name']} : ce n'est pas ce qui fut reçu")


def main() -> int:
    folder, ek, out = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    header = (folder / "header.json").read_bytes()
    hh = hashlib.sha256(b"pli/1 header\x00" + header).digest()
    if len(sys.argv) > 4:
        compare(folder, hh, Path(sys.argv[4]))
    else:
        sys.stderr.write("NON COMPARÉ à l'enregistrement du dépôt : donnez-le en dernier argument\n")
    scratch = out / ".scratch"
    if unseal(folder / "0.cob", ek, hh, 0, scratch) != json.loads(header)["manifest"]:
        raise SystemExit("le manifeste n'est pas celui de l'en-tête")
    manifest = json.loads(scratch.read_bytes())["files"]
    unseal(folder / "t.cob", ek, hh, len(manifest) + 1, scratch)
    closing = {each["i"]: each["sha256"] for each in json.loads(scratch.read_bytes())["files"]}
    for each in manifest:
        digest = unseal(folder / f"{each['i']}.cob", ek, hh, each["i"], scratch)
        if digest != closing[each["i"]]:
            raise SystemExit(f"{each['name']} : l'empreinte n'est pas celle qui fut scellée")
        scratch.replace(out / Path(each["name"]).name)
        sys.stdout.write(f"{digest}  {each['name']}\n")
    scratch.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
