"""The composition root: from options and configuration to a running bridge, without a command line."""
