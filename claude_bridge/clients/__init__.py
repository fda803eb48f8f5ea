"""One module for each client whose behaviour the bridge has to know; what they share is the Messages API."""
