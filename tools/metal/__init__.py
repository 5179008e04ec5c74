"""Development tools for the Metal shaders: checking, reflection, and running them on the SIMT runtime."""
