"""The self-similarity graph of an image's edge pixels and the loss that compares two of them; see README.md here."""

from metaf2n_arch.functional.self_similarity.dispatch import self_similarity_graph as self_similarity_graph
from metaf2n_arch.functional.self_similarity.dispatch import self_similarity_loss as self_similarity_loss

__all__ = ['self_similarity_graph', 'self_similarity_loss']
