"""From a certificate up to those that are trusted, in bounded time.

Certificates issued in a ring, or twice each, make more paths than anybody can follow.
"""

import itertools
from collections.abc import Iterator

from asn1crypto import x509
from pyhanko_certvalidator import ValidationContext, find_valid_path
from pyhanko_certvalidator.authority import TrustAnchor
from pyhanko_certvalidator.errors import PathBuildingError
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.registry import TrustManager
from pyhanko_certvalidator.util import CancelableAsyncIterator

MOST_STEPS, MOST_PATHS = 2000, 50  # looked up, and verified


class _First(CancelableAsyncIterator[ValidationPath]):
    """The first paths of those that there are."""

    def __init__(self, paths: CancelableAsyncIterator[ValidationPath]) -> None:
        self._paths, self._left = paths, MOST_PATHS

    async def __anext__(self) -> ValidationPath:
        self._left -= 1
        if self._left < 0:
            raise StopAsyncIteration
        found: ValidationPath = await self._paths.__anext__()
        return found

    async def cancel(self) -> None:
        await self._paths.cancel()  # type: ignore[no-untyped-call]


def climb(certificate: x509.Certificate, context: ValidationContext) -> ValidationPath:
    """A path that is valid, without any event loop: nothing is fetched, so nothing is awaited in earnest.

    Raises what the path validator raises; PathBuildingError beyond MOST_STEPS.
    """
    registry, steps = context.path_builder.registry, itertools.count()
    find = registry.find_potential_issuers

    def counted(below: x509.Certificate, manager: TrustManager) -> Iterator[TrustAnchor | x509.Certificate]:
        if next(steps) >= MOST_STEPS:
            raise PathBuildingError("too many paths")
        return find(below, manager)

    registry.find_potential_issuers = counted  # type: ignore[assignment,method-assign]
    work = _find(certificate, context)
    try:
        work.send(None)
    except StopIteration as done:
        found: ValidationPath = done.value
        return found
    work.close()
    raise ValueError("the path validator waits for something")


async def _find(certificate: x509.Certificate, context: ValidationContext) -> ValidationPath:
    paths = _First(context.path_builder.async_build_paths_lazy(certificate))
    found: ValidationPath = await find_valid_path(certificate, paths, validation_context=context)
    return found
