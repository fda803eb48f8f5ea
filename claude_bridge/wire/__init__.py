"""What is on the wire: framing and typed shapes, no behaviour."""
