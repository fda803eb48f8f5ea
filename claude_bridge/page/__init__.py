"""The page that shows exchanges: from a trace as one file, and live at the bridge's own address."""
