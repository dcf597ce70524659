"""How a bank's blocks meet a prompt: one file an arrangement, and the protocol that they share."""
