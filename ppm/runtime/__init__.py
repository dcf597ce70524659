"""A prefix at run time: loading and saving it, and the model that it patches."""
