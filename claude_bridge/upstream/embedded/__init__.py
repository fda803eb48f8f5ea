"""The embedded engine, and the model that comes with it."""
