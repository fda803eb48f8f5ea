"""Tools of the web that the API runs itself, run by the bridge for models of engines that have none.

A request that declares ``web_search`` or ``web_fetch`` goes to the engine with functions in their place. The bridge
runs the calls, gives the model the results, and goes on until the model answers; the client gets all of it as one
message, in the API's own blocks.
"""
