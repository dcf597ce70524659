"""The audit: every suite on every configuration, the gate's five rules, and the verdict."""
