"""Which ppm this is: recorded with what it makes, and part of the key of what it keeps."""

__all__ = ["__version__"]

__version__ = "0.1.0"
