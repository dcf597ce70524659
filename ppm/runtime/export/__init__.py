"""Banks in forms that other software reads: one file a target, and the protocol that they share."""
