"""JSON of tools: schemas that an engine accepts, and arguments that a model wrote."""
