"""Other people's updates, restated from their published source to be timed beside ours.

They keep what decides the time: how networks are laid out, which passes are made, what gets gradients,
which optimisers step. None of their code is copied, and nothing here is for training.
"""
