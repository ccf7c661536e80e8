"""What may be refused about organisations and people."""

from typing import ClassVar


class AccountError(Exception):
    """Root of this room's errors."""

    code: ClassVar[str] = "account.error"


class SiretRefused(AccountError):
    """The SIRET has a wrong length or check digit."""

    code = "account.siret-refused"


class RoleRefused(AccountError):
    """This role cannot be given, or taken away, so."""

    code = "account.role-refused"


class OrganisationExists(AccountError):
    """Another organisation already holds this SIRET."""

    code = "account.organisation-exists"
