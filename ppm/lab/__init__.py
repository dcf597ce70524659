"""The lab: a small base model, its corpus, teacher and patches, so that every command runs on two CPU cores."""
