"""The way of an install: requirements -> resolve -> fetch -> verify -> compose -> audit -> deploy.

Modules here import torch and what needs it only inside the functions that do, so that commands without a model
start at once.
"""
