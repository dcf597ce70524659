"""The name that `ppm.runtime` had in 0.1, for code that was written against it."""
