"""What may be wrong between Claude Code and a model: each check is a pure function from what was seen to a Finding."""
