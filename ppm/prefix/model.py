"""The name that `ppm.runtime.model` had in 0.1, for code that was written against it. To be removed after 0.2."""

import warnings

from ppm.runtime.model import UNPATCHED, PrefixedBackbone, attach, backbone_of

__all__ = ["UNPATCHED", "PrefixedBackbone", "attach", "backbone_of"]

warnings.warn("ppm.prefix.model is ppm.runtime.model now", DeprecationWarning, stacklevel=2)
