"""Where package files come from: a source lists releases and fetches their bytes."""

from ppm.sources.base import DEPLOYED_SOURCE, Joined, Listing, Offer, Release, Source
from ppm.sources.directory import DirectorySource

__all__ = ["DEPLOYED_SOURCE", "DirectorySource", "Joined", "Listing", "Offer", "Release", "Source"]
