"""Container images: a Dockerfile each, and what builds them. Standard library only."""
