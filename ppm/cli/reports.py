"""Files about an audit: their options, and writing them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, together
from ppm.cli.output import say

if TYPE_CHECKING:
    from ppm.audit.report import Report

__all__ = ["Reports", "report_options"]


@dataclass(frozen=True)
class Reports:
    """The files about an audit that are asked for."""

    junit: Path | None = None
    samples: Path | None = None
    html: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.junit, self.samples, self.html) if path is not None)

    def refuse_unwritable(self) -> None:
        """Raises RequestError for a file that could not be written after minutes of work."""
        from ppm.errors import RequestError

        for path in self.paths:
            folder = path.absolute().parent
            if not os.access(path if path.exists() else folder, os.W_OK):
                fault = "can't be written" if folder.is_dir() else f"can't be written: there is no folder {folder}"
                raise RequestError(fault, context=str(path), hint="name a file in a folder that you can write to")

    def write(self, report: "Report") -> None:
        """Write each of them. Raises PpmError."""
        from ppm.audit.page import html_page
        from ppm.audit.report import junit_xml, sample_lines
        from ppm.disk import write_output

        if self.junit is not None:
            write_output(self.junit, junit_xml(report.audit))
        if self.samples is not None:
            write_output(self.samples, sample_lines(report.outcomes, report.suites))
        if self.html is not None:
            write_output(self.html, html_page(report))

    def tell(self) -> None:
        """Say which files were written."""
        for path in self.paths:
            say(f"Wrote {path}")


def report_options(function: Callable[..., object]) -> Callable[..., object]:
    """--junit, --samples and --html; the command gets them together, as `reports`."""

    command = together("reports", Reports, "junit", "samples", "html")(function)
    for name, text in (
        ("--html", "Also write an HTML report."),
        ("--samples", "Also write every sample as JSON Lines."),
        ("--junit", "Also write JUnit XML."),
    ):
        kind = LocalPath(dir_okay=False)
        command = click.option(name, type=kind, metavar="FILE", help=text)(command)
    return command
