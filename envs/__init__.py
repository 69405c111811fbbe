"""Simulated tasks: locomotion, stepped as batches, its reference scores, and manipulation from images."""
