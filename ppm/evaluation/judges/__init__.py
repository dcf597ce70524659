"""Judges: each says how far a completion shows what it looks for, from 0 to 1. Importing them needs no torch.

Whether showing it is a failure is the suite's business (`goal`).
"""
