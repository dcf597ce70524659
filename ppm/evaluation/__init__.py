"""Suites, judges, generation and statistics: what a configuration does on a suite's prompts."""
