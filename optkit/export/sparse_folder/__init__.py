"""The ``sparse`` folder: a model's weight files without the zeros of its sparse matrices, exact to the bit."""

from optkit.export.sparse_folder.archive import Tensor, pack_sparse, read_sparse, unpack_sparse
from optkit.export.sparse_folder.index import INDEX_FILE

__all__ = ["INDEX_FILE", "Tensor", "pack_sparse", "read_sparse", "unpack_sparse"]
