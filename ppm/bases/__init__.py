"""Real bases: which ones ppm knows, where they are kept, and how a GGUF or a checkpoint becomes one."""
