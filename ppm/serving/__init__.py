"""Using what is deployed: loaded into a model, and answering prompts."""
