"""A bridge from Anthropic's Messages API to the engines that people run."""

__version__ = "0.1.0"
