"""Simulated tasks, stepped as batches, and the reference scores their returns are normalised by."""
