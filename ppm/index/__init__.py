"""The signed index: static files under TUF, from which patches are taken without trusting whoever hosts them."""
