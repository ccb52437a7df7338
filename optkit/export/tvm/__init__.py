"""Models as libraries that Apache TVM compiled, with block-sparse products where a layer is sparse enough."""
