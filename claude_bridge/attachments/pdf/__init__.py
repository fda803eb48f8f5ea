"""PDF documents, read in a process of their own."""
