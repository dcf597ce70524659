"""Measures: how a suite is run and its figures are compared and shown. One file a measure; the rest asks the registry.

Nothing here imports torch before a suite is run, so an audit whose results are kept is compared and shown without it.
"""
