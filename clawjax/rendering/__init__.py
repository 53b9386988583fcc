"""Conversations as models read them, and replies as they write them: one way for whoever asks."""
