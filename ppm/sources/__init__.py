"""Where package files come from: a source lists candidates and fetches their bytes."""

from ppm.sources.candidate import DEPLOYED_SOURCE, Candidate, Joined, Listing, Offer, Source
from ppm.sources.directory import DirectorySource

__all__ = ["DEPLOYED_SOURCE", "Candidate", "DirectorySource", "Joined", "Listing", "Offer", "Source"]
