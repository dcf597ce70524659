"""Where package files come from: a source lists candidates and fetches their bytes."""

from ppm.sources.candidate import Candidate, Source
from ppm.sources.directory import DirectorySource

__all__ = ["Candidate", "DirectorySource", "Source"]
