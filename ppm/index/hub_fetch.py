"""Files of an index in a repository of the hub, by the addresses, the token and the connection of `huggingface_hub`.

So HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they do everywhere; bounds, tries and parts are those of HTTP.
"""

import math

import httpx2

from ppm.errors import SourceError
from ppm.index.credentials import Login
from ppm.index.fetch import ALONE, HttpFetcher, Refused, Unreachable
from ppm.index.hub import HubAddress, is_commit
from ppm.index.trust import Access

__all__ = ["HubFetcher", "current_commit"]

_TOKEN_HINT = "for a repository that is not public, set HF_TOKEN or run `hf auth login`"
_REFUSALS = {
    "RepoNotFound": ("there is no such repository, or it is not shown to you", f"check the address; {_TOKEN_HINT}"),
    "GatedRepo": ("its owner wants to be asked first", "ask for access on its page, and set HF_TOKEN"),
    "RevisionNotFound": ("it has no such commit", "check the commit; the page of the repository's files lists them"),
}
"""What the hub says in the header X-Error-Code, and what to do."""


class HubFetcher(HttpFetcher):
    """Takes the files below an address, `hf://...`."""

    def __init__(self, url: str, access: Access) -> None:
        super().__init__(access)
        self._below = f"{url}/"
        self._address = HubAddress.parse(url)

    def _first(self, client: httpx2.Client, url: str, headers: dict[str, str]) -> tuple[httpx2.Response, Login | None]:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        address = self._address
        resolved = hf_hub_url(
            address.repository,
            url.removeprefix(self._below),
            subfolder=address.folder or None,
            repo_type=address.kind,
            revision=address.revision,
        )
        headers = {**build_hf_headers(library_name="ppm"), "Accept-Encoding": "identity", **headers}
        request = client.build_request("GET", resolved, headers=headers, timeout=self._access.timeout)
        return client.send(request, stream=True, auth=ALONE, follow_redirects=False), None

    def _refusal(self, response: httpx2.Response, login: Login | None) -> Refused | None:
        code = response.status_code
        told = response.headers.get("x-error-code", "")
        if told not in _REFUSALS:
            told = {401: "RepoNotFound", 403: "GatedRepo"}.get(code, "")
        if not told:
            return None
        message, hint = _REFUSALS[told]
        return Refused(f"{message} ({code})", code, hint)

    def _connected(self) -> httpx2.Client:
        from huggingface_hub import is_offline_mode
        from huggingface_hub.utils import get_session

        if is_offline_mode():
            raise Unreachable("HF_HUB_OFFLINE is set", math.inf)
        return get_session()


def current_commit(address: HubAddress, access: Access) -> str:
    """The commit that a revision of a repository, or its main branch, is at now. Raises SourceError."""
    from huggingface_hub import HfApi, is_offline_mode

    where = str(address)
    if access.offline:
        raise SourceError("is not asked, as you want it", context=where, hint="unset PPM_OFFLINE, or name the commit")
    if is_offline_mode():
        raise SourceError("HF_HUB_OFFLINE is set", context=where, hint="unset it, or name the commit")
    try:
        found = HfApi(library_name="ppm").repo_info(
            address.repository, revision=address.revision or None, repo_type=address.kind, timeout=access.timeout
        )
    except Exception as error:  # the hub client raises a dozen unrelated classes
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = f"check the network and the address; {_TOKEN_HINT}"
        raise SourceError(f"can't be asked for its commit: {reason}", context=where, hint=hint) from error
    if found.sha is None or not is_commit(found.sha):
        raise SourceError("is at no commit that the hub can name", context=where, hint="name the commit")
    return found.sha
