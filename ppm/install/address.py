"""Taking one package file from an address that a user gave with its digest."""

from ppm.errors import IntegrityError, SourceError
from ppm.index.trust import Access, shown_url
from ppm.package import MAX_PACKAGE_BYTES, Package, read_package
from ppm.requirement import Requirement

__all__ = ["fetch_address"]


def fetch_address(requirement: Requirement, access: Access) -> Package:
    """The package file at a requirement's address.

    Raises SourceError when it can't be had, IntegrityError when it has another digest or is another patch.
    """
    address = requirement.address
    assert address is not None
    where = shown_url(address.url)
    if access.offline and not where.startswith("file:"):
        raise SourceError("is not asked, as you want it", context=where, hint="run it without --offline")
    from tuf.api.exceptions import DownloadError

    from ppm.index.blame import blamed
    from ppm.index.client import fetcher_of

    try:
        data = fetcher_of(address.url, access).download_known(address.url, MAX_PACKAGE_BYTES, address.sha256)
    except DownloadError as error:
        raise blamed(error, where) from error
    package = read_package(data, origin=where, expected_sha256=address.sha256)
    if package.manifest.name != requirement.name:
        raise IntegrityError(
            f"is {package.manifest.pin}, not {requirement.name}",
            context=where,
            hint="write the name of the patch that you want",
        )
    return package
