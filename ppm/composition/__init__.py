"""Composition: strategy files, the steps they name, and the package that comes of them. Knows nothing of the gate."""
