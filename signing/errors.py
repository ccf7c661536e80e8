"""One tree of errors. Verification raises; validation of people's signatures reports (report.py)."""

from typing import ClassVar


class SigningError(Exception):
    """Root: nothing else leaves this package for a bad input."""

    code: ClassVar[str] = "signing.error"


class HeaderRefused(SigningError):
    """The header is not strict `pli/1`, or its ids are not those expected."""

    code = "envelope.header-refused"


class ManifestRefused(SigningError):
    """The manifest or closing record is malformed or disagrees with the files."""

    code = "envelope.manifest-refused"


class StanzaRefused(SigningError):
    """A sealed key was not sealed to this key, or was altered."""

    code = "envelope.stanza-refused"


class ObjectRefused(SigningError):
    """A sealed object was altered, truncated, swapped or belongs elsewhere."""

    code = "envelope.object-refused"


class RefusedChoice(SigningError):
    """Files that cannot be deposited as they were given."""

    code = "deposit.choice-refused"


class DraftAltered(SigningError):
    """Sealed bytes on this machine that are no longer those that were sealed."""

    code = "deposit.draft-altered"


class NameRefused(SigningError):
    """A file's name cannot be sealed."""

    code = "envelope.name-refused"


class KeyRefused(SigningError):
    """Bytes that are not a key of this suite."""

    code = "key.refused"


class ShareRefused(SigningError):
    """A share that does not match its commitment; `index` names its holder."""

    code = "share.refused"

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class CeremonyRefused(SigningError):
    """The ceremony record is malformed or does not carry these keys."""

    code = "ceremony.refused"


class DeadlineNotPassed(SigningError):
    """A share is not brought before the deadline, whatever the server says."""

    code = "share.before-deadline"


class ProtectorRefused(SigningError):
    """Wrong passphrase, or a protector file that was altered."""

    code = "protector.refused"


class ProofRefused(SigningError):
    """A note, checkpoint or Merkle proof that does not verify."""

    code = "proof.refused"


class JournalUnreachable(SigningError):
    """A published journal that does not answer: nothing was compared, run the same command again."""

    code = "proof.journal-unreachable"


class TimestampRefused(SigningError):
    """A timestamp request or token that does not verify, or nobody answered."""

    code = "timestamp.refused"


class ClockDisagrees(TimestampRefused):
    """A valid token of an authority whose time is far from this machine's."""

    code = "timestamp.clock"


class SignatureRefused(SigningError):
    """A PDF could not be sealed or signed."""

    code = "signature.refused"


class ReceiptRefused(SigningError):
    """A receipt whose proofs do not agree."""

    code = "receipt.refused"


class PassRefused(SigningError):
    """A pass that is not the platform's, not of this kind, or out of date."""

    code = "pass.refused"


class TrustRefused(SigningError):
    """A trusted list or a certificate of an authority that cannot be relied on."""

    code = "trust.refused"
