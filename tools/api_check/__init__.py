"""Checks the Metal backend's use of Apple's API, and its bindings, against facts from outside."""
