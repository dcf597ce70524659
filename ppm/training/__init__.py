"""Training a patch: pairs, then SFT, then DPO, with retention in both, and the package that comes of it."""
